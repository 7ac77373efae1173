"""Evaluates finished runs: meanet eval --workdir runs/digits [--max-offload 0.1] [--name NAME].

Several --workdir are evaluated where needed and compared: mean and spread over runs. The exit
status is 3 where no system keeps the constraints, in whichever of the runs.
"""

import argparse

from meanet_jax import log
from meanet_jax.commands.constraint_flags import (
  UNMET_STATUS,
  add_constraint_flags,
  constraints_of,
  given_constraints,
)
from meanet_jax.commands.cost_flags import add_cost_flags, cost_changes
from meanet_jax.commands.experiment import add_read_flags, read_options
from meanet_jax.commands.flags import Parser, add_path, add_switch, require
from meanet_jax.commands.process import add_cache_flag
from meanet_jax.cost.changes import CostChanges
from meanet_jax.cost.device_file import read_profile
from meanet_jax.errors import UserError
from meanet_jax.evaluation.asked import Asked, kept_evaluation

COMPARISON = "runs/comparison"


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
    help=f"where the comparison of several runs is written; {COMPARISON} if not given",
  )
  parser.add_argument(
    "--name",
    metavar="NAME",
    help="of this evaluation, which is written to eval/NAME beside those of other names; without "
    "it eval/ itself is written",
  )
  add_switch(
    parser,
    "--reuse-records",
    "read the records of an earlier evaluation; run no network (with --name this is the default "
    "where they are the run's; --no-reuse-records runs the networks)",
  )
  parser.set_defaults(reuse_records=None)
  add_read_flags(parser)
  add_cache_flag(parser)
  add_constraint_flags(parser)
  add_path(
    parser,
    "--device",
    metavar="FILE",
    help="a device profile (device.json), or the name of an installed one, in place of the cost "
    "model",
  )
  add_cost_flags(parser, "those of the run and the device")
  parser.epilog = (
    "A run has the configuration that it was trained with (config.json in its directory); `meanet "
    "train` changes its rules (--config.routing.FIELD=VALUE) and trains nothing again."
  )


def run(given: argparse.Namespace) -> int:
  """Evaluates; the exit status."""
  # In here, for JAX takes seconds to import, and neither --help nor a wrong flag needs it.
  from meanet_jax.api import Run, evaluate
  from meanet_jax.commands.compilation_cache import use_compilation_cache
  from meanet_jax.devices import check_devices
  from meanet_jax.report.compare import compare
  from meanet_jax.runs.directory import RunDirectory

  log.to_console()
  if not given.workdir:
    require(None, "--workdir", "the directory of a run")
  alone = len(given.workdir) == 1
  if alone and given.output is not None:
    raise UserError(
      f"--output {given.output} with one --workdir; accepted: with several, which are compared "
      "there; one is written to its own eval/, or to eval/NAME with --name"
    )
  check_devices()
  use_compilation_cache(given.compilation_cache)
  limits, constants = given_constraints(given), cost_changes(given)
  profile = None if given.device is None else read_profile(given.device)
  says_nothing = not limits and not constants and profile is None
  systems = []
  for workdir in given.workdir:
    found = Run(workdir, read_options(given))
    path = RunDirectory(workdir).evaluations().get(given.name)
    kept = None if alone else kept_evaluation(path)
    asked = Asked(constraints_of(found.config, limits), CostChanges(profile, constants))
    if kept is not None and given.name is not None and says_nothing:
      asked = kept.asked  # a name stands for what was asked under it
    if kept is not None and given.reuse_records is None and kept.answers(asked, found.config):
      systems.append(kept.system)
      continue
    if path is not None and not alone:
      log.logger.info(f"{path} is replaced: it may be of other constraints, costs or rules")
    evaluation = evaluate(
      found,
      asked.constraints,
      name=given.name,
      device=asked.costs.profile,
      cost=asked.costs.constants,
      reuse_records=given.reuse_records,
    )
    systems.append(evaluation.verdict.system)
  if not alone:
    compare(given.workdir, given.output or COMPARISON, given.name)
  return UNMET_STATUS if None in systems else 0
