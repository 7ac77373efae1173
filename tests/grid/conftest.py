"""A small grid, trained once: an ordinary point, one of other numbers, one that diverges."""

import io
from pathlib import Path

import jax
import pytest
from rich.console import Console

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.grid.points import expand
from meanet_jax.grid.run import train_grid
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.train import train
from tests.printing import printing_to
from tests.shared import Artifacts

# Mild enough numbers: where training amplifies rounding (an edge stage with 0.2 did, to 1e-4), two
# programs that are compiled apart cannot agree to rounding.
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
def artifact(artifacts: Artifacts, tiny: Config) -> Path:
  """Holds the grid, unrolled, in grid/, and in said.txt what its training said."""

  def build(path: Path) -> None:
    said = io.StringIO()
    with jax.numpy_dtype_promotion("standard"), printing_to(Console(file=said, width=200)):
      train_grid(tiny, GRID, path / "grid")
    (path / "said.txt").write_text(said.getvalue())

  return artifacts.get("grid", build)


@pytest.fixture(scope="session")
def said(artifact: Path) -> str:
  """What `trained` said."""
  return (artifact / "said.txt").read_text()


@pytest.fixture(scope="session")
def trained(artifact: Path) -> Path:
  """The workdir of the grid, unrolled. Tests read it; none writes to it."""
  return artifact / "grid"


@pytest.fixture(scope="session")
def alone(tiny: Config, artifacts: Artifacts, finished_run: RunDirectory) -> list[Path]:
  """The grid's first two points, trained by themselves. Tests read them; none writes to them."""

  def build(path: Path) -> None:
    with jax.numpy_dtype_promotion("standard"):
      train(expand(AXES, tiny, 10)[1].config, path)

  return [finished_run.path, artifacts.get("grid_point_alone", build)]
