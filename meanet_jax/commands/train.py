"""Trains a MEANet: meanet train --config digits --workdir runs/digits.

With --grid, trains many; with --distributed, this is one of several processes that train together.
"""

import argparse
import dataclasses
from typing import Any

from meanet_jax import log
from meanet_jax.commands.cluster import add_cluster_flags, read_cluster
from meanet_jax.commands.experiment import (
  add_config_flag,
  add_read_flags,
  read_experiment,
  read_options,
)
from meanet_jax.commands.flags import Parser, add_choice, add_path, add_switch, require
from meanet_jax.commands.process import add_cache_flag
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.stopping import Stop, stop_on_signals


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_config_flag(parser)
  add_path(
    parser,
    "--data",
    help="images of your own (docs/own_images.md); --config is own_images then, if not given",
  )
  add_path(parser, "--workdir", metavar="DIR", help="directory of the run; made when missing")
  add_read_flags(parser)
  add_switch(
    parser, "--tensorboard", "write metrics as TensorBoard's events too (extra `tensorboard`)"
  )
  add_cache_flag(parser)
  grid = parser.add_argument_group("a grid (docs/grids.md)")
  grid.add_argument("--grid", metavar="AXES", help="FIELD=VALUE,VALUE;... with ; between axes")
  add_switch(grid, "--dry-run", "print a grid's points and what they will take, and end")
  add_choice(grid, "--executor", ("here", "ray"), help="what trains a grid's trials")
  add_cluster_flags(parser)


def run(given: argparse.Namespace) -> None:
  """Trains."""
  # In here, for JAX takes seconds to import, and neither --help nor a wrong flag needs it.
  from meanet_jax.commands.compilation_cache import use_compilation_cache
  from meanet_jax.devices import check_devices
  from meanet_jax.training import distributed as processes
  from meanet_jax.training.cluster import connected

  config, grid = read_experiment(given, given.data)
  grid = _with_flags(grid, given)
  log.to_console()
  if given.dry_run:
    check_devices()
    _grids().show_grid(config, grid, read_options(given))
    return
  require(given.workdir, "--workdir", "the directory of the run")
  cluster = read_cluster(given)
  use_compilation_cache(given.compilation_cache)
  if cluster is None:
    check_devices()
    with stop_on_signals() as stop:
      _train(config, grid, given, stop)
    return
  with connected(cluster):
    if not processes.is_process_0():
      log.to_nobody()
    if not grid.axes:
      with processes.stop_together() as stop:
        _train(config, grid, given, stop)
      return
    # Processes share out a grid's points and are at different steps: each hears its own signals.
    with stop_on_signals() as stop:
      _train(config, grid, given, stop)


def _train(config: Config, grid: GridConfig, given: argparse.Namespace, stop: Stop) -> None:
  from meanet_jax.training.train import train

  options = read_options(given)
  if grid.axes:
    _grids().train_grid(config, grid, given.workdir, options, stop, given.tensorboard)
  else:
    train(config, given.workdir, options, stop, given.tensorboard)


def _with_flags(grid: GridConfig, given: argparse.Namespace) -> GridConfig:
  if given.grid is not None:
    from meanet_jax.grid.points import split_axes

    grid = dataclasses.replace(grid, axes=split_axes(given.grid))
    if not grid.axes:
      raise UserError(f"flag --grid is {given.grid!r}; accepted: FIELD=VALUE,VALUE;...")
  if given.executor is not None:
    grid = dataclasses.replace(grid, executor=given.executor)
  if grid.axes and grid.executor != "here" and read_cluster(given) is not None:
    raise UserError(
      f"flag --executor is {grid.executor} with --distributed; accepted: one of them, for Ray "
      "has processes of its own"
    )
  if not grid.axes and (given.dry_run or given.executor is not None):
    name = "--dry-run" if given.dry_run else "--executor"
    raise UserError(f"flag {name} without a grid; accepted: with --grid, or a configuration's")
  return grid


def _grids() -> Any:
  # Here, because an ordinary run needs nothing of what a grid's evaluation and figures import.
  from meanet_jax.grid import run as grids

  return grids
