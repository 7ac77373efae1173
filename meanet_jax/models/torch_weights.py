"""Pretrained weights: from torchvision's names and layouts to a `Network`'s variables."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from meanet_jax.config.networks import StructureConfig
from meanet_jax.errors import UserError
from meanet_jax.log import logger
from meanet_jax.models.mobile_structures import MobileStructure
from meanet_jax.models.resnet import BOTTLENECK_EXPANSION
from meanet_jax.models.torch_files import StateDict

PyTree = Any
Structure = StructureConfig | MobileStructure
Path = tuple[str, ...]
# Components of names by DataParallel, `torch.compile`, FSDP and activation checkpointing.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def load_pretrained(
  state_dict: StateDict,
  structure: Structure,
  abstract: PyTree,
  source: str,
  fresh_head: PyTree | None = None,
) -> PyTree:
  """The variables of a network from a torchvision-style state dict.

  Args:
    state_dict: arrays by name, such as `layer1.0.conv1.weight` or `features.1.conv.0.0.weight`;
      what wrappers add to such names (`module.`, `_orig_mod.`) is left out.
    structure: the network's, after scaling and splitting.
    abstract: its variables `{"params", "batch_stats"}`, of which shapes are read.
    source: the file's path, for messages.
    fresh_head: the parameters of the last dense layer (`kernel`, `bias`) to use instead of the
      file's, of which neither classes nor names then matter, nor whether it has one; None takes
      the file's.

  Raises:
    UserError: an entry that is missing, extra, misshapen, not a number, or not finite.
  """
  shapes = flatten_dict(abstract)
  expected = {path: torch_name(path, structure) for path in shapes}
  names = set(expected.values())
  head = {name for path, name in expected.items() if "dense" in path}
  given = _without_counters(_without_wrappers(state_dict, names), names)
  if fresh_head is not None:
    given = _without_head(given, names - head)
    names -= head
  _check_names(names, set(given), head, source)
  converted = sorted({str(array.dtype) for array in given.values() if array.dtype != np.float32})
  result = {}
  for path, name in expected.items():
    if fresh_head is not None and "dense" in path:
      result[path] = fresh_head[path[-1]]
      continue
    result[path] = _convert(given[name], shapes[path].shape, path, name, source)
    if path[-2] == _pooled_layer(structure) and path[-1] == "kernel":
      result[path] = _flattened_last(result[path], feature_channels(structure))
  if converted:
    logger.info(f"weights {source}: converted from {', '.join(converted)} to float32")
  return unflatten_dict(result)


def torch_name(path: Path, structure: Structure) -> str:
  """The torchvision name of a variable.

  Args:
    path: of a `Network`'s variables, collection first:
      `("params", "trunk", "stage1_block1", "conv1", "conv", "kernel")`.
    structure: decides between ResNet's and the MobileNets' names.
  """
  if isinstance(structure, MobileStructure):
    return _mobile_name(path, structure)
  _, part, *rest = path
  if "dense" in rest:
    kind = {"kernel": "weight", "bias": "bias"}[rest[-1]]
    return ("classifier.1." if structure.block == "inverted" else "fc.") + kind
  *place, layer, leaf = rest  # layer: `conv` or `norm`
  kind = "weight" if layer == "conv" else _NORM[leaf]
  name = _inverted_layer if structure.block == "inverted" else _resnet_layer
  return f"{name(part, place, layer, structure)}.{kind}"


def _resnet_layer(part: str, place: list[str], layer: str, _: Structure) -> str:
  is_conv = layer == "conv"
  if place == ["stem"]:
    return "conv1" if is_conv else "bn1"
  if part == "head":  # no torchvision ResNet has one; the name is MobileNetV2's
    return "final.0" if is_conv else "final.1"
  block, convolution = place
  stage, index = _stage_and_block(block)
  if convolution == "shortcut":
    inner = "downsample.0" if is_conv else "downsample.1"
  else:
    inner = convolution if is_conv else convolution.replace("conv", "bn")
  return f"layer{stage}.{index - 1}.{inner}"


def _inverted_layer(part: str, place: list[str], layer: str, structure: Structure) -> str:
  number = "0" if layer == "conv" else "1"
  if place == ["stem"]:
    return f"features.0.{number}"
  if part == "head":
    return f"features.{1 + sum(structure.depths)}.{number}"
  block, convolution = place
  stage, index = _stage_and_block(block)
  feature = sum(structure.depths[: stage - 1]) + index
  expands = structure.expansions[stage - 1] != 1
  if convolution == "project":  # bare convolution and norm, not a pair of their own
    first = 2 if expands else 1
    return f"features.{feature}.conv.{first if layer == 'conv' else first + 1}"
  pair = 0 if convolution == "expand" or not expands else 1
  return f"features.{feature}.conv.{pair}.{number}"


def _mobile_name(path: Path, structure: MobileStructure) -> str:
  _, part, *place, layer, leaf = path
  kind = _NORM[leaf] if layer == "norm" else {"kernel": "weight", "bias": "bias"}[leaf]
  if layer in ("hidden", "dense"):
    number = 0 if layer == "hidden" else 3 if structure.hidden_width else 1
    return f"classifier.{number}.{kind}"
  blocks = structure.depths if structure.family == "efficientnet" else (sum(structure.depths),)
  pair = "0" if layer == "conv" else "1"
  if place == ["stem"]:
    return f"features.0.{pair}.{kind}"
  if part == "head":
    last = 1 + (len(blocks) if structure.family == "efficientnet" else blocks[0])
    return f"features.{last}.{pair}.{kind}"
  block, convolution = place
  stage, index = _stage_and_block(block)
  before = structure.stem_width if stage == 1 else structure.widths[stage - 2]
  settings = structure.stages[stage - 1]
  if index > 1:
    before = settings.width
  present = [
    *(["expand"] if settings.inner[index - 1] != before else []),
    "depthwise",
    *(["squeeze"] if settings.squeeze else []),
    "project",
  ]
  inside = f"{present.index(convolution)}.{layer if convolution == 'squeeze' else pair}"
  if structure.family == "efficientnet":
    return f"features.{stage}.{index - 1}.block.{inside}.{kind}"
  return f"features.{sum(structure.depths[: stage - 1]) + index}.block.{inside}.{kind}"


def _pooled_layer(structure: Structure) -> str:
  """The dense layer that follows the head's pool."""
  hidden = isinstance(structure, MobileStructure) and structure.hidden_width
  return "hidden" if hidden else "dense"


def _stage_and_block(name: str) -> tuple[int, int]:
  stage, block = name.split("_")
  return int(stage.removeprefix("stage")), int(block.removeprefix("block"))


def _without_wrappers(state_dict: StateDict, expected: set[str]) -> StateDict:
  """Without what wrappers add to names: `module.` and `_orig_mod.`, wherever, and any other prefix
  that all names share (`model.`, `backbone.`).

  A component that the network's own names begin with is none, though a file may have it alone.
  """
  bare = {
    ".".join(part for part in name.split(".") if part not in _WRAPPERS): array
    for name, array in state_dict.items()
  }
  if len(bare) == len(state_dict):  # else two entries would become one
    state_dict = bare
  own = {name.partition(".")[0] for name in expected}
  while True:
    first = {name.partition(".")[0] for name in state_dict}
    if len(first) != 1 or first & own or any("." not in name for name in state_dict):
      return state_dict
    state_dict = {name.partition(".")[2]: array for name, array in state_dict.items()}


def _without_head(given: StateDict, trunk: set[str]) -> StateDict:
  """Without the last layers, whatever they are called: `fc`, `classifier`, `head.fc`.

  They are what the trunk does not have, if it is of one part and has matrices and vectors alone: a
  network with more blocks or more batch norms has convolutions or no matrix there.
  """
  extra = {name: array for name, array in given.items() if name not in trunk}
  parts = {name.partition(".")[0] for name in extra}
  ranks = {array.ndim for array in extra.values()}
  if len(parts) == 1 and 2 in ranks and max(ranks) == 2:
    return {name: array for name, array in given.items() if name in trunk}
  return given


def _without_counters(state_dict: StateDict, expected: set[str]) -> StateDict:
  """Without batch norms' counts of batches: a file by PyTorch before 0.4.1 has none, and here they
  are not read. A count of a batch norm that the network does not have stays, as an extra entry.
  """
  norms = [name.removesuffix("running_mean") for name in expected if name.endswith("running_mean")]
  counters = {f"{norm}num_batches_tracked" for norm in norms}
  return {name: array for name, array in state_dict.items() if name not in counters}


def _check_names(expected: set[str], given: set[str], head: set[str], source: str) -> None:
  for what, names in (("misses", expected - given), ("has the extra", given - expected)):
    if names:
      first = sorted(names)[0]
      more = f" and {len(names) - 1} more" if len(names) > 1 else ""
      hint = ", or reset_head=true for a fresh last layer" if names <= head else ""
      raise UserError(
        f"weights {source!r}: the file {what} entry {first!r}{more}; "
        f"accepted: exactly this network's {len(expected)} entries{hint}"
      )


def _convert(
  array: np.ndarray, shape: tuple[int, ...], path: Path, name: str, source: str
) -> np.ndarray:
  if not jnp.issubdtype(array.dtype, jnp.floating):  # NumPy's own does not know bfloat16
    raise UserError(f"weights {source!r}: {name!r} is {array.dtype}; accepted: floating point")
  wanted = _torch_shape(shape, path)
  if array.shape != wanted:
    hint = " (or reset_head=true for another number of classes)" if "dense" in path else ""
    raise UserError(
      f"weights {source!r}: {name!r} has shape {array.shape}; accepted: {wanted}{hint}"
    )
  with np.errstate(over="ignore"):  # what is too large for float32 is refused below
    array = array.astype(np.float32)
  if not np.isfinite(array).all():
    raise UserError(f"weights {source!r}: {name!r} has values that are not finite; accepted: none")
  if path[-1] != "kernel":
    return array
  if array.ndim == 4:
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
  return np.ascontiguousarray(array.T)


def feature_channels(structure: Structure) -> int:
  """Channels that the pool in front of the dense layer sees."""
  if structure.final_width:
    return structure.final_width
  bottleneck = isinstance(structure, StructureConfig) and structure.block == "bottleneck"
  expansion = BOTTLENECK_EXPANSION if bottleneck else 1
  return structure.widths[-1] * expansion if structure.widths else structure.stem_width


def _flattened_last(kernel: np.ndarray, channels: int) -> np.ndarray:
  """From PyTorch's flattened (channel, row, column) to ours, (row, column, channel)."""
  side = math.isqrt(len(kernel) // channels)
  split = kernel.reshape(channels, side, side, -1)
  return np.ascontiguousarray(split.transpose(1, 2, 0, 3)).reshape(kernel.shape)


def _torch_shape(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
  if path[-1] != "kernel":
    return shape
  return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]
