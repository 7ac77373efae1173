"""Data sets prepared by TensorFlow Datasets: found, prepared, indexed, read."""
