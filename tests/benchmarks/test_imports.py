"""Benchmarks that no test runs can still be imported: what they import is there."""

import importlib
import pkgutil

import benchmarks


def test_every_benchmark_is_imported():
  found = [module.name for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]
  assert "benchmarks.evidence.levers" in found
  for name in found:
    try:
      importlib.import_module(name)
    except ModuleNotFoundError as error:
      if str(error.name).startswith(("benchmarks", "meanet_jax")):  # others are of an extra
        raise
