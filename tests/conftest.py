"""Strict settings for every test, and one small finished run that many of them share."""

from jaxtyping import install_import_hook

# Before anything imports the package: every annotated shape and type is checked at run time.
install_import_hook("meanet_jax", "beartype.beartype")

import io  # noqa: E402
from pathlib import Path  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402
from rich.console import Console  # noqa: E402

from meanet_jax.config import Config  # noqa: E402
from meanet_jax.config_dict import resolve  # noqa: E402
from meanet_jax.console import Reporter  # noqa: E402
from meanet_jax.runs.directory import RunDirectory  # noqa: E402
from meanet_jax.training.pipeline import train  # noqa: E402
from tests.experiments import tiny_config  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def reporter() -> Reporter:
  """Speaks to a buffer: `reporter.console.file.getvalue()`."""
  return Reporter(Console(file=io.StringIO(), width=200))


@pytest.fixture(scope="session")
def tiny() -> Config:
  return resolve(tiny_config())


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny: Config) -> RunDirectory:
  """A run of `tiny` with all stages finished. Tests read it; none writes to it."""
  workdir: Path = tmp_path_factory.mktemp("finished")
  train(tiny, workdir, Reporter(Console(file=io.StringIO())))
  return RunDirectory.existing(workdir)
