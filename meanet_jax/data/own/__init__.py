"""A user's own images: a folder of class folders, a CSV file, or NumPy arrays."""
