"""Evaluates finished runs: meanet eval --workdir runs/digits [--max-offload 0.1].

Several --workdir are evaluated where needed and compared: mean and spread over runs.
"""

import argparse
import dataclasses

from meanet_jax import log
from meanet_jax.commands.experiment import add_read_flags, read_options
from meanet_jax.commands.flags import Parser, add_number, add_path, add_switch, require
from meanet_jax.commands.process import add_cache_flag
from meanet_jax.config.ranges import Range

_CONSTRAINTS = {
  "max_offload": (Range(0, 1), "largest share of images sent to the cloud"),
  "max_energy_mj": (Range(0), "largest mean energy on the edge per image, in millijoules"),
  "max_latency_ms": (Range(0), "largest mean latency per image, in milliseconds"),
  "min_accuracy": (Range(0, 1), "smallest accuracy; the fewest offloads that keep it are selected"),
  "price": (Range(0), "accuracy that one offloaded image has to be worth"),
  "confidence": (Range(0.5, 0.999999), "with which the constraints hold on new images"),
}


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_path(
    parser,
    "--workdir",
    metavar="DIR",
    action="append",
    default=[],
    help="a run that `meanet train` finished; repeatable",
  )
  add_path(
    parser,
    "--output",
    metavar="DIR",
    default="runs/comparison",
    help="where the comparison of several runs is written",
  )
  add_switch(parser, "--reuse-records", "read the records of an earlier evaluation; run no network")
  add_read_flags(parser)
  add_cache_flag(parser)
  constraints = parser.add_argument_group(
    "constraints",
    "under which thresholds are selected on validation, in place of the configuration's",
  )
  for name, (bounds, help) in _CONSTRAINTS.items():
    add_number(constraints, f"--{name.replace('_', '-')}", bounds, help=help)
  parser.epilog = (
    "A run has the configuration that it was trained with (config.json in its directory)."
  )


def run(given: argparse.Namespace) -> None:
  """Evaluates."""
  # In here, for JAX takes seconds to import, and neither --help nor a wrong flag needs it.
  from meanet_jax.commands.compilation_cache import use_compilation_cache
  from meanet_jax.devices import check_devices
  from meanet_jax.evaluation.pipeline import configured_constraints, evaluate
  from meanet_jax.report.compare import compare
  from meanet_jax.runs.directory import RunDirectory
  from meanet_jax.selection.select import Constraints

  log.to_console()
  if not given.workdir:
    require(None, "--workdir", "the directory of a run")
  check_devices()
  use_compilation_cache(given.compilation_cache)
  asked = {name: getattr(given, name) for name in _CONSTRAINTS if getattr(given, name) is not None}
  alone = len(given.workdir) == 1
  for workdir in given.workdir:
    found = RunDirectory.existing(workdir)
    constraints = Constraints(**asked)
    if set(asked) <= {"confidence"}:  # of the constraints that the run was configured with
      constraints = dataclasses.replace(configured_constraints(found.config()), **asked)
    done = (found.eval_path / "summary.json").exists()
    if alone or asked or given.reuse_records or not done:
      evaluate(workdir, constraints, given.reuse_records, read_options(given))
  if not alone:
    compare(given.workdir, given.output)
