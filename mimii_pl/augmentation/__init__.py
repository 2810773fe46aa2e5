"""Changes of training batches, on the device."""
