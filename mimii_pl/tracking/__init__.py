"""MLflow: logger, store, registry, and comparisons of recorded runs."""
