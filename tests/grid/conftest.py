"""A small grid, trained once: an ordinary point, one of other numbers, one that diverges."""

import io
from pathlib import Path

import jax
import pytest
from rich.console import Console

from meanet_jax.config import Config
from meanet_jax.config_grid import GridConfig
from meanet_jax.console import Reporter
from meanet_jax.grid.pipeline import train_grid
from meanet_jax.grid.points import expand
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.pipeline import train

# Mild enough numbers: where training amplifies rounding (an edge stage with 0.2 did, to 1e-4), two
# programs that are compiled apart cannot agree to 1e-6.
AXES = (
  "{seed=0},"
  "{seed=1, stages.main.learning_rate=0.03, stages.main.momentum=0.8, stages.main.weight_decay=0.0,"
  " stages.main.label_smoothing=0.1, model.main.dropout=0.2, stages.main.schedule=cosine,"
  " stages.edge.learning_rate=0.05, stages.edge.weight_decay=0.01, stages.cloud.momentum=0.5},"
  "{seed=2, stages.main.learning_rate=1e30}",
)


# Two waves: two members unrolled in one program, then one beside an empty place.
GRID = GridConfig(axes=AXES, batching="unroll", per_device=2)


@pytest.fixture(autouse=True)
def optax_promotes():
  """optax's own schedules multiply Python floats with integer step counts."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="session")
def grid() -> GridConfig:
  """What `trained` was made with."""
  return GRID


@pytest.fixture(scope="session")
def axes() -> tuple[str, ...]:
  return AXES


@pytest.fixture(scope="session")
def said() -> io.StringIO:
  """What `trained` said."""
  return io.StringIO()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Config, said: io.StringIO) -> Path:
  """The workdir of the grid, unrolled. Tests read it; none writes to it."""
  workdir = tmp_path_factory.mktemp("grid") / "grid"
  with jax.numpy_dtype_promotion("standard"):
    train_grid(
      tiny,
      GRID,
      workdir,
      Reporter(Console(file=said, width=200)),
    )
  return workdir


@pytest.fixture(scope="session")
def alone(
  tiny: Config, tmp_path_factory: pytest.TempPathFactory, finished_run: RunDirectory
) -> list[Path]:
  """The grid's first two points, trained by themselves. Tests read them; none writes to them."""
  other = expand(AXES, tiny, 10)[1].config
  path = tmp_path_factory.mktemp("alone")
  with jax.numpy_dtype_promotion("standard"):
    train(other, path, Reporter(Console(file=io.StringIO())))
  return [finished_run.path, path]
