"""What training starts from: pretrained weights where configured, fresh ones elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from meanet_jax.config.networks import NetworkConfig
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError, nearest
from meanet_jax.files import read_json
from meanet_jax.models.meanet import BLOCKS, MEANet
from meanet_jax.models.own_network import OwnNetwork
from meanet_jax.models.torch_files import read_state_dict
from meanet_jax.models.torch_weights import load_pretrained
from meanet_jax.models.variables import Variables, abstract_variables, init_variables
from meanet_jax.models.zoo import build
from meanet_jax.paths import expanded_path
from meanet_jax.runs.checkpoints import complete_step
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.lock import refuse_if_held
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training.stage_checkpoint import read_stage
from meanet_jax.training.stages import Stage, gradient_stages, num_steps

PyTree = Any
Block = dict[str, PyTree]  # of one block: {"params": ..., "batch_stats": ...}


class _Weights(NamedTuple):
  """Where a block's weights come from: a state dict's file or, with a block of it, a run."""

  path: str
  block: str | None

  def __str__(self) -> str:
    return self.path if self.block is None else f"{self.path}:{self.block}"


def initial_variables(config: Config, model: MEANet, blocks: tuple[str, ...]) -> Variables:
  """Variables of some blocks before any stage has trained them.

  Args:
    config, model: the experiment.
    blocks: of the model.

  Raises:
    UserError: pretrained weights that are not this network's, or no path of a file or a run.
  """
  shape = config.dataset.image_shape
  given = _pretrained(config)
  fresh = tuple(block for block in blocks if block not in given or given[block].reset_head)
  variables = jax.device_get(init_variables(model, config.seed, shape, fresh))
  abstract = abstract_variables(model, shape)
  for block in blocks:
    if block in given:
      weights = _weights(given[block].pretrained, block)
      own = variables.get(block)
      if weights.block is None:
        variables[block] = _from_file(weights.path, getattr(model, block), abstract[block], own)
      else:
        found = _block_of_run(weights)
        variables[block] = _fitted(found, abstract[block], own, weights, getattr(model, block))
  return variables


def check_pretrained(config: Config, model: MEANet) -> None:
  """Refuses pretrained weights that `initial_variables` would refuse."""
  initial_variables(config, model, tuple(_pretrained(config)))


def _pretrained(config: Config) -> dict[str, NetworkConfig]:
  networks = {"main": config.model.main, "cloud": config.model.cloud}
  return {name: network for name, network in networks.items() if network.pretrained}


def _weights(text: str, block: str) -> _Weights:
  """What `model.BLOCK.pretrained` names: FILE, RUN, or RUN:BLOCK."""
  path = expanded_path(text, f"model.{block}.pretrained")
  if Path(path).is_dir():
    return _Weights(path, block)
  run, colon, of_run = path.rpartition(":")
  if colon and Path(run).is_dir():
    if of_run not in BLOCKS:
      raise UserError(
        f"model.{block}.pretrained is {text!r}, and {of_run!r} is no block of a run; "
        f"{nearest(of_run, BLOCKS)}"
      )
    return _Weights(run, of_run)
  return _Weights(path, None)


def _from_file(path: str, network: Any, abstract: Block, fresh: Block | None) -> Block:
  if isinstance(network, OwnNetwork):
    raise UserError(
      f"weights {path!r} are a file for a module of your own, whose names in a state dict are not "
      "known; accepted: RUN or RUN:BLOCK, a run of this module"
    )
  head = None if fresh is None else fresh["params"]["head"]["dense"]
  return load_pretrained(read_state_dict(path), network.structure, abstract, path, head)


def _block_of_run(weights: _Weights) -> Block:
  """A block's variables as the run's last stage that trains it has left them.

  Raises:
    UserError: no run, one that another process is writing, or whose stage is not finished.
  """
  run = RunDirectory.existing(weights.path)
  refuse_if_held(run.path)
  config = run.config()
  stages = [x for x in gradient_stages(config) if weights.block in x.trainable]
  abstract = abstract_variables(build(config), config.dataset.image_shape)
  if weights.block not in abstract:
    raise UserError(f"weights {str(weights)!r}: the run has no such block; accepted: one it has")
  stage = stages[-1]
  step = complete_step(run.checkpoints_path(stage.name))
  if step is None or not _is_last(step, stage, config, run):
    raise UserError(
      f"weights {str(weights)!r}: the run has not finished stage {stage.name}; accepted: a run "
      f"that has (meanet train goes on with it)"
    )
  return jax.device_get(read_stage(stage, config, abstract, run, step))[weights.block]


def _is_last(step: int, stage: Stage, config: Config, run: RunDirectory) -> bool:
  """Whether a stage of a run, whose images need not be here, ends after this step."""
  settings = config.stage(stage.name)
  if stage.images == "all":
    images = read_json(run.data_path)["splits"]["train"]["num_examples"]
    return step == num_steps(settings, images)
  # How many images are of hard classes is not written down, but the epoch of a validation is.
  epochs = [
    line["epoch"]
    for line in MetricsFile(run.metrics_path).read()
    if (line["stage"], line["step"]) == (stage.name, step) and "validation_accuracy" in line
  ]
  return max(epochs, default=0) >= settings.epochs


def _fitted(
  found: Block, abstract: Block, fresh: Block | None, weights: _Weights, network: Any
) -> Block:
  """Another run's block as this network's variables.

  Args:
    found: the run's.
    abstract: this network's, of which shapes are read.
    fresh: this network's own, from which the head comes; None takes the run's.
    weights: where they come from, for messages.
    network: this one.

  Raises:
    UserError: entries that are missing, extra or of another shape.
  """
  if weights.block == "adaptive":  # a trunk alone
    found = {name: {"trunk": tree} for name, tree in found.items()}
  given, wanted = _flat(found), _flat(abstract)
  own: Mapping[tuple[str, ...], Any] = {}
  if fresh is not None:
    own = {path: array for path, array in _flat(fresh).items() if _is_reset(path, network, given)}
    if not own:
      raise UserError(
        f"weights {str(weights)!r}: the network has no part named head, which reset_head starts "
        "afresh; accepted: reset_head=false, or a module whose last layer is self.head"
      )
    # Of a head of another network there may be more parts; of its trunk there must not.
    kept = {path for path in given if path in wanted or path[1] != "head"}
    given = {path: given[path] for path in kept - own.keys()} | own
  _check_fit(given, wanted, weights, fresh is None)
  return {name: {} for name in abstract} | unflatten_dict(given)


def _is_reset(path: tuple[str, ...], network: Any, given: Mapping[tuple[str, ...], Any]) -> bool:
  """Whether a variable is of the part that `reset_head` starts afresh.

  Of a named network its last layer, of a module all of its `head`, and any part of a head that the
  weights do not have.
  """
  if path[1] != "head":
    return False
  return isinstance(network, OwnNetwork) or "dense" in path or path not in given


def _check_fit(
  given: Mapping[tuple[str, ...], Any],
  wanted: Mapping[tuple[str, ...], Any],
  weights: _Weights,
  may_reset: bool,
) -> None:
  where = f"weights {str(weights)!r}"
  hint = ", or reset_head=true for another number of classes" if may_reset else ""
  for what, names in (
    ("misses", wanted.keys() - given.keys()),
    ("has the extra", given.keys() - wanted.keys()),
  ):
    if names:
      first = ".".join(sorted(names)[0])
      more = f" and {len(names) - 1} more" if len(names) > 1 else ""
      raise UserError(
        f"{where}: the run's block {what} {first!r}{more}; accepted: the block of a run with the "
        f"same network{hint}"
      )
  for path, array in given.items():
    if array.shape != wanted[path].shape:
      raise UserError(
        f"{where}: {'.'.join(path)!r} has shape {array.shape}; accepted: {wanted[path].shape}{hint}"
      )


def _flat(block: Block) -> dict[tuple[str, ...], Any]:
  return {path: leaf for path, leaf in flatten_dict(block).items() if leaf is not None}
