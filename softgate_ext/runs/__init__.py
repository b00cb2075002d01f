"""The folder of a training run: its configuration, weights, training state and log."""
