"""MEANet in JAX: networks split between an edge device and the cloud."""

__version__ = "0.1.0"
