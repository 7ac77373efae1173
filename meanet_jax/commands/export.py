"""Exports a run's edge for TF Lite.

meanet export --workdir runs/digits --out runs/digits/export [--operating-point NAME] [--verify]

The exit status is 3 where the evaluation's thresholds do not keep its constraints.
"""

import argparse
import dataclasses

from meanet_jax import log
from meanet_jax.commands.cost_flags import add_cost_flags, cost_changes
from meanet_jax.commands.experiment import (
  add_config_flag,
  add_read_flags,
  read_config,
  read_options,
)
from meanet_jax.commands.flags import (
  Parser,
  add_choice,
  add_integer,
  add_path,
  add_switch,
  require,
)
from meanet_jax.config.ranges import Range
from meanet_jax.cost.changes import changed_cost
from meanet_jax.errors import UserError
from meanet_jax.log import logger


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_path(
    parser,
    "--workdir",
    metavar="DIR",
    help="a run that `meanet train` finished and `meanet eval` evaluated",
  )
  add_config_flag(parser)
  add_read_flags(parser)
  add_path(parser, "--out", metavar="DIR", help="the directory to write")
  parser.add_argument(
    "--operating-point",
    metavar="NAME",
    help="that of the evaluation with this name (meanet eval --name); if not given, of that "
    "without a name",
  )
  add_choice(
    parser,
    "--quantize",
    ("none", "float16", "dynamic_int8", "int8"),
    default="none",
    help="numbers to store and compute in; int8 is calibrated on training images",
  )
  add_integer(parser, "--batch", Range(1), default=1, help="images per call of a network")
  add_choice(
    parser,
    "--input",
    ("uint8", "float32"),
    default="uint8",
    help="type of the pixels 0 .. 255 that the signatures take",
  )
  add_switch(parser, "--cloud", "export the cloud model as well, as cloud.tflite")
  add_switch(
    parser, "--allow-unmet", "export thresholds that do not meet the constraints of the evaluation"
  )
  add_switch(parser, "--verify", "run the files in LiteRT over the test split and compare with JAX")
  add_cost_flags(parser, "those of the evaluation, for the figures in edge.json")


def run(given: argparse.Namespace) -> None:
  """Exports, and verifies on demand."""
  out = require(given.out, "--out", "a directory to write")
  if bool(given.workdir) == (given.config is not None):
    raise UserError(
      f"{'both' if given.workdir else 'none'} of --workdir and --config given; accepted: one; "
      "--config exports untrained weights, for size and speed"
    )
  if given.workdir and given.fields:
    raise UserError(
      f"--config.{given.fields[0].path} with --workdir; accepted: `meanet train` changes the rules "
      "of a run, and --cost.FIELD its costs"
    )
  if given.verify and not given.workdir:
    raise UserError("--verify with --config; accepted: --workdir, a run with a test split")
  if given.data_dir is not None and not given.workdir:
    raise UserError("--data-dir with --config; accepted: --workdir, a run that has data")
  if given.operating_point and not given.workdir:
    raise UserError("--operating-point with --config; accepted: --workdir, a run with evaluations")
  # In here, for JAX takes seconds to import, and neither --help nor a wrong flag needs it.
  from meanet_jax.devices import check_devices
  from meanet_jax.tflite.versions import check_versions

  check_versions()
  check_devices()
  # Only now, because these import what has just been checked.
  from meanet_jax.tflite.export import Options, export
  from meanet_jax.tflite.source import Selected, from_run, untrained
  from meanet_jax.tflite.verify import verify

  log.to_console()
  if given.workdir:
    selected = Selected(given.operating_point, cost_changes(given))
    source = from_run(given.workdir, read_options(given), selected)
  else:
    config = read_config(given)
    cost = changed_cost(config.cost, cost_changes(given))
    source = untrained(dataclasses.replace(config, cost=cost), given.cloud)
  options = Options(given.quantize, given.batch, given.input, given.cloud, given.allow_unmet)
  export(source, out, options)
  if source.unmet is not None:
    logger.warning(f"edge.json has thresholds that do not meet: {source.unmet}")
  if given.verify:
    verify(source, out)
