"""What a training would take of a TPU slice that need not exist."""
