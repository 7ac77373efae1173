"""Selects an operating point from logits of any framework.

meanet select --logits validation.npz [--test test.npz] --costs costs.json --max-offload 0.1

docs/own_logits.md says what the files hold. The exit status is 3 where no threshold keeps the
constraints.
"""

import argparse
from pathlib import Path

from meanet_jax import log
from meanet_jax.commands.constraint_flags import (
  UNMET_STATUS,
  add_constraint_flags,
  given_constraints,
)
from meanet_jax.commands.flags import Parser, add_choice, add_integer, add_number, add_path, require
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.ranges import Range
from meanet_jax.errors import UserError
from meanet_jax.routing.policies import PRESETS
from meanet_jax.seeds import LARGEST_SEED


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_path(
    parser, "--logits", metavar="FILE", help="an .npz file of validation images: labels and logits"
  )
  add_path(parser, "--test", metavar="FILE", help="the same of images that select nothing")
  add_path(parser, "--costs", metavar="FILE", help="a JSON file: what an image costs")
  add_choice(
    parser,
    "--policy",
    tuple(PRESETS),
    help="the rules; if not given, paper, or without an extension the two exits main and cloud",
  )
  add_number(
    parser,
    "--test-fraction",
    Range(0, 0.999999),
    help="without --test, share of the images that is set aside for testing; 0.5 if not given",
  )
  add_integer(
    parser,
    "--seed",
    Range(0, LARGEST_SEED),
    help="without --test, of the images that are set aside; 0 if not given",
  )
  add_path(
    parser,
    "--output",
    metavar="DIR",
    help="where operating_point.json, summary.json, tables, figures and report.html are written",
  )
  add_constraint_flags(parser)


def run(given: argparse.Namespace) -> int:
  """Selects and prints; the exit status."""
  # In here, for JAX takes seconds to import, and neither --help nor a wrong flag needs it.
  from meanet_jax.evaluation.from_logits import SelectOptions, select
  from meanet_jax.evaluation.logit_files import read_costs, read_logits
  from meanet_jax.report.selection import show_selection, write_selection

  log.to_console()
  path = require(given.logits, "--logits", "an .npz file with labels and logits")
  costs_path = require(given.costs, "--costs", "a JSON file with macs and image_bytes")
  for flag, value in (("--test-fraction", given.test_fraction), ("--seed", given.seed)):
    if given.test and value is not None:
      raise UserError(f"{flag} and --test were both given; accepted: one of them")
  constraints = Constraints(**given_constraints(given))
  costs = read_costs(Path(costs_path))
  images = read_logits(Path(path))
  test = read_logits(Path(given.test)) if given.test else None
  fraction = SelectOptions.test_fraction if given.test_fraction is None else given.test_fraction
  policy = PRESETS[given.policy] if given.policy else None
  options = SelectOptions(policy=policy, test_fraction=fraction, seed=given.seed or 0)
  found = select(images.logits, images.labels, costs, constraints, test, options)
  show_selection(found, constraints)
  if given.output:
    write_selection(Path(given.output), found, constraints, costs)
  if found.unmet is None:
    return 0
  log.logger.warning(found.unmet)
  return UNMET_STATUS
