"""What a configuration would take on a TPU slice that this machine need not have.

meanet plan --config cifar100_resnet32_b --topology v5e:4x8 [--batch-size N] [--json]

Compiles every stage's mapped step for the slice with the TPU's own compiler and counts. Nothing is
run: the images per second are what a chip's peak arithmetic and its peak memory bandwidth allow at
most. A stage of 0 epochs is compiled too: it may be fine-tuned.
"""

import argparse
import dataclasses
import json

from meanet_jax import log
from meanet_jax.commands.experiment import add_config_flag, read_config
from meanet_jax.commands.flags import Parser, add_integer, add_switch, require
from meanet_jax.config.ranges import Range


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_config_flag(parser)
  parser.add_argument("--topology", metavar="SLICE", help="chip and shape, such as v5e:4x8")
  add_integer(
    parser, "--batch-size", Range(1), help="global batch of every stage, in place of its own"
  )
  add_integer(
    parser, "--num-train", Range(1), help="training images, of a set whose size is not known"
  )
  add_switch(parser, "--json", "print JSON instead of a table")


def run(given: argparse.Namespace) -> None:
  """Compiles and prints."""
  # In here, for JAX takes seconds to import, and neither --help nor a wrong flag needs it.
  from meanet_jax.devices import check_devices
  from meanet_jax.planning.plan import plan, show

  topology = require(given.topology, "--topology", "a TPU slice, such as v5e:4x8")
  config = read_config(given)
  check_devices()
  log.to_stderr()
  chip, plans = plan(config, topology, given.batch_size, given.num_train)
  if given.json:
    described = dataclasses.asdict(chip)
    stages = [dataclasses.asdict(stage) for stage in plans]
    print(json.dumps({"topology": topology, "chip": described, "stages": stages}, indent=2))
  else:
    log.to_console()
    show(topology, chip, plans)
