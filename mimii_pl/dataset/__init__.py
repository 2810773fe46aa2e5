"""Where sound comes from: one module per public data set, and the machinery from file to device."""
