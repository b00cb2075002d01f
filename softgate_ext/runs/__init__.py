"""A run's folder: its configuration, weights, training state and log."""
