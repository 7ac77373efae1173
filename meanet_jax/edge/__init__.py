"""What runs on a device: NumPy and LiteRT, no JAX."""
