"""A run's directory: configuration, checkpoints, metrics, locks and what it was begun with."""
