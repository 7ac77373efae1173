"""Evaluates finished runs: meanet eval --workdir runs/digits [--max-offload 0.1].

Several --workdir are evaluated where needed and compared: mean and spread over runs. The exit
status is 3 where no system keeps the constraints.
"""

import argparse

from meanet_jax import log
from meanet_jax.commands.constraint_flags import (
  UNMET_STATUS,
  add_constraint_flags,
  constraints_of,
  given_constraints,
)
from meanet_jax.commands.experiment import add_read_flags, read_options
from meanet_jax.commands.flags import Parser, add_path, add_switch, require
from meanet_jax.commands.process import add_cache_flag


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
  add_constraint_flags(parser)
  parser.epilog = (
    "A run has the configuration that it was trained with (config.json in its directory)."
  )


def run(given: argparse.Namespace) -> int:
  """Evaluates; the exit status."""
  # In here, for JAX takes seconds to import, and neither --help nor a wrong flag needs it.
  from meanet_jax.api import Run, evaluate
  from meanet_jax.commands.compilation_cache import use_compilation_cache
  from meanet_jax.devices import check_devices
  from meanet_jax.report.compare import compare

  log.to_console()
  if not given.workdir:
    require(None, "--workdir", "the directory of a run")
  check_devices()
  use_compilation_cache(given.compilation_cache)
  asked = given_constraints(given)
  alone, status = len(given.workdir) == 1, 0
  for workdir in given.workdir:
    found = Run(workdir)
    done = (found.path / "eval/summary.json").exists()
    if alone or asked or given.reuse_records or not done:
      evaluation = evaluate(
        found,
        constraints_of(found.config, asked),
        reuse_records=given.reuse_records,
        options=read_options(given),
      )
      if evaluation.verdict.system is None:
        status = UNMET_STATUS
  if not alone:
    compare(given.workdir, given.output)
  return status
