"""What Python programs do with MEANets; the commands stand on it. docs/api.md has examples.

`meanet_jax` has the same names, imported when they are first used. Lines and progress go to the
logger `meanet_jax`; what a user can put right raises `UserError`.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.cost.changes import CostChanges
from meanet_jax.cost.device import DeviceProfile
from meanet_jax.cost.device_file import read_profile
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.edge.manifest import Manifest
from meanet_jax.evaluation.evaluate import Evaluation
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.paths import expanded_path
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.stopping import Stop, never
from meanet_jax.training import train as training
from meanet_jax.training.restore import load_variables, require_finished


class Run:
  """A run on disk, of `train` or of the command of that name.

  path: its directory. config: what it was trained with. options: where and how data are read.
  """

  def __init__(self, path: str | os.PathLike[str], options: ReadOptions | None = None):
    """Opens the run in a directory.

    Raises:
      UserError: there is none.
    """
    self._directory = RunDirectory.existing(os.fspath(path))
    self.options = options

  @property
  def path(self) -> Path:
    """The run's directory."""
    return self._directory.path

  @property
  def config(self) -> Config:
    """The resolved configuration."""
    return self._directory.config()

  def metrics(self) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl in order: stage, step, epoch and what was logged there."""
    return MetricsFile(self._directory.metrics_path).read()

  def load(self) -> tuple[MEANet, Variables]:
    """The networks and what they have learned.

    Returns:
      The Linen module, and variables on the host: by block (`main`, `adaptive`, `extension`,
      `cloud`) the collections `params` and `batch_stats`.

    Raises:
      UserError: a stage has not finished, or the data are no longer those that it was trained on.
    """
    config, run = self.config, self._directory
    dataset = load(config.dataset, (self.options or ReadOptions()).or_from(run.data_dir()))
    run.check_data(dataset.describe())
    require_finished(config, dataset, run)
    model = build(config)
    return model, load_variables(config, model, dataset, run)

  def __repr__(self) -> str:
    return f"Run({str(self.path)!r})"


def train(
  config: Config,
  workdir: str | os.PathLike[str],
  *,
  options: ReadOptions | None = None,
  stop: Stop = never,
  tensorboard: bool = False,
) -> Run:
  """Trains a MEANet and its cloud; goes on where an interrupted call stopped.

  Args:
    config: the experiment.
    workdir: the run's directory; made when missing.
    options: where and how data are read.
    stop: asked after every step for the signal to end.
    tensorboard: whether metrics are written as TensorBoard's events as well.

  Raises:
    UserError: a configuration that cannot be run, a workdir of another one, on other data or in
      use by another process, or a full disk.
    TrainingStoppedError: `stop` said so.
    TrainingDivergedError: a loss that is not finite.
  """
  training.train(config, os.fspath(workdir), options, stop, tensorboard)
  return Run(workdir, options)


def evaluate(
  run: Run,
  constraints: Constraints | None = None,
  *,
  name: str | None = None,
  device: str | os.PathLike[str] | DeviceProfile | None = None,
  cost: Mapping[str, Any] | None = None,
  reuse_records: bool | None = None,
) -> Evaluation:
  """Evaluates a finished run, selects its operating point, and writes its `eval/` or `eval/NAME`.

  Args:
    run: with all stages finished.
    constraints: on the operating point; the configuration's unless given.
    name: of the evaluation; those of other names stay.
    device: a profile, its file, or the name of an installed one; the configuration's cost model if
      not given.
    cost: constants of the cost model by field, in place of the configuration's and the profile's.
    reuse_records: whether the records of an earlier evaluation are read instead of running the
      networks. If not given, an evaluation with a name reads them where they are the run's, and one
      without runs the networks.

  Raises:
    UserError: an unfinished run, a wrong name, profile or constant, constraints that cannot be
      tested, or records that cannot be reused.
  """
  if not isinstance(device, DeviceProfile | None):
    device = read_profile(os.fspath(device))
  costs = CostChanges(device, cost or {})
  return evaluate_run(run.path, constraints, reuse_records, run.options, costs, name)


def export(
  run: Run,
  out: str | os.PathLike[str],
  *,
  operating_point: str | None = None,
  allow_unmet: bool = False,
  quantize: str = "none",
  cloud: bool = False,
) -> Manifest:
  """Writes the edge of an evaluated run for TF Lite: networks, rules and `edge.json`.

  Args:
    run: that `evaluate` has evaluated.
    out: the directory to write.
    operating_point: the name of the evaluation that selected it; that without a name if not given.
    allow_unmet: whether thresholds that break their constraints are exported.
    quantize: `none`, `float16`, `dynamic_int8` or `int8`.
    cloud: whether the cloud model is exported as well.

  Raises:
    UserError: the extra `export` is not installed, another word for `quantize`, the run has not
      been evaluated under that name or its data have changed, or the directory cannot be written.
    UnmetConstraintsError: thresholds that break their constraints, which are not allowed.
  """
  from meanet_jax.tflite.versions import check_versions

  directory = Path(expanded_path(os.fspath(out), "out"))
  check_versions()
  # Only now, because these import what has just been checked.
  from meanet_jax.tflite.export import Options
  from meanet_jax.tflite.export import export as write
  from meanet_jax.tflite.source import Selected, from_run

  options = Options(quantize=quantize, cloud=cloud, allow_unmet=allow_unmet)
  source = from_run(run.path, run.options, Selected(operating_point))
  return write(source, directory, options)


def train_grid(
  config: Config,
  axes: Mapping[str, Iterable[Any]],
  workdir: str | os.PathLike[str],
  *,
  grid: GridConfig | None = None,
  options: ReadOptions | None = None,
  stop: Stop = never,
) -> list[Run]:
  """Trains a grid of runs, those that differ in numbers alone in one program (docs/grids.md).

  Args:
    config: what the trials differ from.
    axes: values by dotted field name, NumPy's too; the trials are their product, the last axis
      fastest.
    workdir: of the grid; made when missing.
    grid: how it is trained; its own axes are replaced.
    options: where and how data are read.
    stop: asked after every step for the signal to end.

  Returns:
    The runs, in the order of the product.

  Raises:
    UserError: a grid that cannot be run, or a workdir of another one or in use.
  """
  # Here, because an ordinary run needs nothing of what a grid's evaluation and figures import.
  from meanet_jax.grid import run as grids

  texts = tuple(
    f"{name}={','.join(repr(_plain(value)) for value in values)}" for name, values in axes.items()
  )
  grid = dataclasses.replace(grid or GridConfig(), axes=texts)
  paths = grids.train_grid(config, grid, os.fspath(workdir), options, stop)
  return [Run(path, options) for path in paths]


def _plain(value: Any) -> Any:
  """A value of an axis whose text is a literal: of NumPy's and JAX's, Python's own."""
  if isinstance(value, list | tuple):
    return type(value)(map(_plain, value))
  return value.tolist() if hasattr(value, "tolist") else value
