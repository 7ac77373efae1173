"""What pyproject.toml cannot say: `configs/` is installed as `meanet_jax/configs/`."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["meanet_jax", "meanet_jax.*"]), "meanet_jax.configs"],
  package_dir={"meanet_jax.configs": "configs"},
)
