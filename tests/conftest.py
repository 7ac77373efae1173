"""Strict settings for every test, and the finished runs that many of them share."""

import os
import signal
import tempfile
from importlib.metadata import version

from tests import type_checks

pytest_plugins = ("tests.tiers",)

# What one test compiles serves the others, in every worker and every process that they start: the
# first process that gets here, which starts the others, makes the directory for them. JAX's keys
# hold versions, devices and flags.
_MADE = "MEANET_JAX_TESTS_COMPILED"
if _MADE not in os.environ:
  os.environ[_MADE] = tempfile.mkdtemp(prefix="meanet_jax_tests_")
  os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true"
  os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ[_MADE]
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
  os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
  # Nothing is to look for a TPU, of which libtpu speaks on stderr where the extra is installed.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  # What is compiled here runs for milliseconds, so effort at compiling is lost. So is splitting a
  # module for several cores, which other workers have. `make test-full`, whose programs run for
  # minutes, asks for level 1.
  flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_parallel_codegen_split_count=1"
  if "xla_backend_optimization_level" not in flags:
    flags += " --xla_backend_optimization_level=0"
    if version("jaxlib").startswith("0.10."):  # later ones do not know the flag
      flags += " --xla_cpu_use_fusion_emitters=false"  # halves what compiling a step takes
  os.environ["XLA_FLAGS"] = flags

# A shell's `&` ignores SIGINT and `nohup` SIGHUP, and commands would inherit that; they are to hear
# both.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
  signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before anything imports the package: every annotated shape and type is checked at run time.
type_checks.install("meanet_jax")

import gc  # noqa: E402
import io  # noqa: E402
import logging  # noqa: E402
import shutil  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from rich.console import Console  # noqa: E402

from meanet_jax import log  # noqa: E402
from meanet_jax.config.parsing import resolve  # noqa: E402
from meanet_jax.config.schema import Config  # noqa: E402
from meanet_jax.report import figures  # noqa: E402
from meanet_jax.report.write import evaluate_run  # noqa: E402
from meanet_jax.runs.directory import RunDirectory  # noqa: E402
from meanet_jax.tflite.source import Source, from_run  # noqa: E402
from meanet_jax.training.train import train  # noqa: E402
from tests.experiments import tiny_config  # noqa: E402
from tests.named import add_named  # noqa: E402
from tests.printing import printing_to  # noqa: E402
from tests.servers import CloudServer, cloud_server_process  # noqa: E402
from tests.shared import Artifacts  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# A busy machine is no failure: the limit is one of processor time (tests/tiers.py).
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
  """One more than there are cores, for tests wait for processes, timers and disks."""
  if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
    return None
  return len(os.sched_getaffinity(0)) + 1


def pytest_collection_finish() -> None:
  """What was imported stays, so that no later collection of garbage goes through it."""
  gc.collect()
  gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
  """The process that made the directory of what was compiled removes it."""
  if not hasattr(config, "workerinput"):
    shutil.rmtree(os.environ[_MADE], ignore_errors=True)


@pytest.fixture(autouse=True)
def _lines_go_where_they_went() -> Iterator[None]:
  """A command that a test calls leaves a handler behind."""
  before = (list(log.logger.handlers), log.logger.propagate, log.logger.level)
  yield
  log.logger.handlers[:], log.logger.propagate, log.logger.level = before


@pytest.fixture
def printed() -> Iterator[Callable[[], str]]:
  """What a command would have printed so far, on a console 200 columns wide."""
  console = Console(file=io.StringIO(), width=200)
  with printing_to(console):
    yield console.file.getvalue


@pytest.fixture
def said(printed: Callable[[], str]) -> Iterator[list[str]]:
  """What was logged so far, a text for each line."""
  lines: list[str] = []
  handler = logging.Handler()
  handler.emit = lambda record: lines.append(record.getMessage())
  log.logger.addHandler(handler)
  yield lines
  log.logger.removeHandler(handler)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
  """Evaluations write everything but figures, which take most of their time."""
  monkeypatch.setattr(figures, "save_figure", lambda _, path: path)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifacts]:
  """What one worker builds and all of them read."""
  base = tmp_path_factory.getbasetemp()
  found = Artifacts((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts")
  yield found
  found.check()


@pytest.fixture(scope="session")
def tiny() -> Config:
  return resolve(tiny_config())


@pytest.fixture(scope="session")
def finished_run(artifacts: Artifacts, tiny: Config) -> RunDirectory:
  """A run of `tiny` with all stages finished. Tests read it; none writes to it."""

  def build(path: Path) -> None:
    with jax.numpy_dtype_promotion("standard"):
      train(tiny, path)

  return RunDirectory.existing(artifacts.get("finished", build))


@pytest.fixture(scope="session")
def evaluated_run(artifacts: Artifacts, finished_run: RunDirectory) -> Path:
  """The workdir of `finished_run` after eval.py. Tests read it; none writes to it."""

  def build(path: Path) -> None:
    shutil.copytree(finished_run.path, path, dirs_exist_ok=True)
    with jax.numpy_dtype_promotion("standard"):
      evaluate_run(path)

  return artifacts.get("evaluated", build)


@pytest.fixture(scope="session")
def named_run(artifacts: Artifacts, evaluated_run: Path) -> Path:
  """`evaluated_run` with the evaluations of `add_named`. Tests read it; none writes to it."""

  def build(path: Path) -> None:
    shutil.copytree(evaluated_run, path, dirs_exist_ok=True)
    with jax.numpy_dtype_promotion("standard"):
      add_named(path)

  return artifacts.get("named", build)


@pytest.fixture(scope="session")
def source(evaluated_run: Path) -> Source:
  """What `evaluated_run` exports."""
  return from_run(evaluated_run)


@pytest.fixture(scope="session")
def exported(artifacts: Artifacts, source: Source) -> Path:
  """A float32 export of `evaluated_run`, with its cloud. Tests read it; none writes to it."""
  # Here, because few tests need the converter and the quantiser, which take a second to import.
  from meanet_jax.tflite.export import Options, export

  def build(path: Path) -> None:
    export(source, path, Options(cloud=True))

  return artifacts.get("exported", build)


@pytest.fixture(scope="session")
def cloud_server(finished_run: RunDirectory) -> Iterator[CloudServer]:
  """The cloud of `finished_run`, served on loopback without TLS or token. No test ends it."""
  with cloud_server_process(finished_run.path) as server:
    yield server
