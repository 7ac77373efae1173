"""Strict settings for every test, and one small finished run that many of them share."""

import os

from jaxtyping import install_import_hook

# No test, nor process that one starts, is to use what another has compiled.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
# Nor to look for a TPU, of which libtpu speaks on stderr where the extra is installed.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What is compiled here runs for milliseconds, so half of the time that LLVM would take is saved.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1"

# Before anything imports the package: every annotated shape and type is checked at run time.
install_import_hook("meanet_jax", "beartype.beartype")

import io  # noqa: E402
import shutil  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402
from rich.console import Console  # noqa: E402

from meanet_jax.config import Config  # noqa: E402
from meanet_jax.config_dict import resolve  # noqa: E402
from meanet_jax.console import Reporter  # noqa: E402
from meanet_jax.evaluation.pipeline import evaluate  # noqa: E402
from meanet_jax.export.source import Source, from_run  # noqa: E402
from meanet_jax.runs.directory import RunDirectory  # noqa: E402
from meanet_jax.training.pipeline import train  # noqa: E402
from tests.experiments import tiny_config  # noqa: E402
from tests.servers import CloudServer, cloud_server_process  # noqa: E402

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


@pytest.fixture(scope="session")
def evaluated_run(finished_run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
  """The workdir of `finished_run` after eval.py. Tests read it; none writes to it."""
  workdir = tmp_path_factory.mktemp("evaluated_run") / "run"
  shutil.copytree(finished_run.path, workdir)
  evaluate(workdir, Reporter(Console(file=io.StringIO())))
  return workdir


@pytest.fixture(scope="session")
def source(evaluated_run: Path) -> Source:
  """What `evaluated_run` exports."""
  return from_run(evaluated_run, lambda _: None)


@pytest.fixture(scope="session")
def exported(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A float32 export of `evaluated_run`, with its cloud. Tests read it; none writes to it."""
  # Here, because few tests need the converter and the quantiser, which take a second to import.
  from meanet_jax.export.pipeline import Options, export

  directory = tmp_path_factory.mktemp("exported")
  export(source, directory, Options(cloud=True), lambda _: None)
  return directory


@pytest.fixture(scope="session")
def cloud_server(finished_run: RunDirectory) -> Iterator[CloudServer]:
  """The cloud of `finished_run`, served on loopback without TLS or token. No test ends it."""
  with cloud_server_process(finished_run.path) as server:
    yield server
