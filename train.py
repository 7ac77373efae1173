"""Trains a MEANet: python train.py --config configs/digits.py --workdir runs/digits.

With --grid, trains many; with --distributed, this is one of several processes that train together.
"""

import dataclasses
from typing import Any

from absl import flags

from meanet_jax import log
from meanet_jax.commands import flags as cli
from meanet_jax.commands import launch
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.devices import check_devices
from meanet_jax.errors import UserError
from meanet_jax.grid.points import split_axes
from meanet_jax.stopping import Stop, stop_on_signals
from meanet_jax.training import distributed as processes
from meanet_jax.training.train import train

_experiment = cli.define_experiment_flag()
_options = cli.define_read_flags()
_cluster = launch.define_cluster_flags()
_use_compilation_cache = launch.define_compilation_cache_flag()
_WORKDIR = cli.define_path_flag("workdir", None, "Directory of the run; made when missing.")
_TENSORBOARD = flags.DEFINE_boolean(
  "tensorboard", False, "Write metrics as TensorBoard's events too (extra `tensorboard`)."
)
_GRID = flags.DEFINE_string("grid", None, "Axes of a grid, with ; between them: docs/grids.md.")
_DRY_RUN = flags.DEFINE_boolean(
  "dry_run", False, "Print a grid's points and what they will take, and end."
)
_EXECUTOR = flags.DEFINE_enum(
  "executor", None, ["here", "ray"], "What trains a grid's trials: these processes, or Ray's."
)


def main() -> None:
  """Reads the flags and trains."""
  config, grid = _experiment()
  grid = _with_flags(grid)
  options = _options()
  log.to_console()
  if _DRY_RUN.value:
    check_devices()
    _grids().show_grid(config, grid, options)
    return
  workdir = cli.require(_WORKDIR.value, "workdir", "the directory of the run")
  cluster = _cluster()
  _use_compilation_cache()
  if cluster is None:
    check_devices()
    with stop_on_signals() as stop:
      _train(config, grid, workdir, stop)
    return
  with processes.connected(cluster):
    check_devices()
    if not processes.is_process_0():
      log.to_nobody()
    if not grid.axes:
      with processes.stop_together() as stop:
        _train(config, grid, workdir, stop)
      return
    # Processes share out a grid's points and are at different steps: each hears its own signals.
    with stop_on_signals() as stop:
      _train(config, grid, workdir, stop)


def _train(config: Config, grid: GridConfig, workdir: str, stop: Stop) -> None:
  if grid.axes:
    _grids().train_grid(config, grid, workdir, _options(), stop, _TENSORBOARD.value)
  else:
    train(config, workdir, _options(), stop, _TENSORBOARD.value)


def _with_flags(grid: GridConfig) -> GridConfig:
  if _GRID.value is not None:
    grid = dataclasses.replace(grid, axes=split_axes(_GRID.value))
    if not grid.axes:
      raise UserError(f"flag --grid is {_GRID.value!r}; accepted: FIELD=VALUE,VALUE;...")
  if _EXECUTOR.value is not None:
    grid = dataclasses.replace(grid, executor=_EXECUTOR.value)
  if grid.axes and grid.executor != "here" and _cluster() is not None:
    raise UserError(
      f"flag --executor is {grid.executor} with --distributed; accepted: one of them, for Ray "
      "has processes of its own"
    )
  if not grid.axes and (_DRY_RUN.value or _EXECUTOR.value is not None):
    name = "dry_run" if _DRY_RUN.value else "executor"
    raise UserError(f"flag --{name} without a grid; accepted: with --grid, or a configuration's")
  return grid


def _grids() -> Any:
  # Here, because an ordinary run needs nothing of what a grid's evaluation and pictures import.
  from meanet_jax.grid import run

  return run


if __name__ == "__main__":
  cli.run(main, afterwards=launch.tell_other_processes)
