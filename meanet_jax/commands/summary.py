"""What a configuration's networks cost, per block; or the evaluations of a run.

meanet summary --config cifar100_resnet32_b [--json]
meanet summary --workdir runs/digits [--json]
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from meanet_jax import log
from meanet_jax.commands.evaluations import run_evaluations, show_evaluations
from meanet_jax.commands.experiment import add_config_flag, read_config
from meanet_jax.commands.flags import Parser, add_path, add_switch
from meanet_jax.config.schema import Config
from meanet_jax.cost.macs import count_macs
from meanet_jax.devices import check_devices
from meanet_jax.errors import UserError
from meanet_jax.models.costs import (
  block_functions,
  compiled_flops,
  count_parameters,
  exported_bytes,
  training_activation_bytes,
)
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import build


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_config_flag(parser)
  add_path(parser, "--workdir", metavar="DIR", help="a run, whose evaluations are listed")
  add_switch(parser, "--json", "print JSON instead of tables")


def run(given: argparse.Namespace) -> None:
  """Counts, or reads what evaluations wrote, and prints."""
  if given.workdir and (given.config or given.fields):
    raise UserError("--workdir and --config were both given; accepted: one of them")
  if given.workdir:
    found = run_evaluations(given.workdir)
    _print(found, given.json, lambda: show_evaluations(given.workdir, found))
  else:
    config = read_config(given)
    check_devices()
    summary = summarise(config)
    _print(summary, given.json, lambda: show(summary))


def _print(found: Any, as_json: bool, show_tables: Callable[[], None]) -> None:
  if as_json:
    print(json.dumps(found, indent=2))
  else:
    log.to_console()
    show_tables()


def summarise(config: Config) -> dict[str, Any]:
  """Per block: parameters, MACs, flops, exported bytes; per training step: activation bytes.

  MACs and flops are of one image; flops are XLA's count for the compiled function on this backend.
  """
  model = build(config)
  variables = abstract_variables(model, config.dataset.image_shape)
  blocks = {
    block: {
      "parameters": count_parameters(variables[block]),
      "macs": count_macs(function, *arguments),
      "flops": compiled_flops(function, *arguments),
      "exported_bytes": exported_bytes(variables[block]),
    }
    for block, (function, arguments) in block_functions(model, config.dataset.image_shape).items()
  }
  stages = config.stages
  together = stages.finetune if stages.training == "mixed" else stages.edge
  batch_sizes = {"whole_edge_network": together.batch_size} | {
    name: config.stage(name).batch_size for name in config.stage_names
  }
  return {
    "dataset": config.dataset.name,
    "image_shape": list(config.dataset.image_shape),
    "num_classes": config.dataset.num_classes,
    "num_hard": config.num_hard,
    "blocks": blocks,
    "training": {
      name: {"batch_size": batch_sizes[name], "activation_bytes": size}
      for name, size in training_activation_bytes(model, config).items()
    },
  }


def show(summary: dict[str, Any]) -> None:
  """Prints a summary as two tables."""
  log.table(
    f"{summary['dataset']}: blocks, per image of {summary['image_shape']}",
    ("block", "parameters", "MACs [M]", "flops by XLA [M]", "exported [kB]"),
    (
      (
        block,
        f"{cost['parameters']:,}",
        f"{cost['macs'] / 1e6:,.3f}",
        f"{cost['flops'] / 1e6:,.3f}",
        f"{cost['exported_bytes'] / 1e3:,.1f}",
      )
      for block, cost in summary["blocks"].items()
    ),
  )
  log.table(
    "training: forward values kept for the backward pass, before fusion",
    ("what trains", "batch", "activations [MB]"),
    (
      (name.replace("_", " "), str(cost["batch_size"]), f"{cost['activation_bytes'] / 1e6:,.1f}")
      for name, cost in summary["training"].items()
    ),
  )
