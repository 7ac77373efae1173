"""Named structures, and the one function that builds a MEANet from its configuration."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from meanet_jax.config.networks import NetworkConfig, StructureConfig
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError, nearest
from meanet_jax.models.meanet import MEANet, Network, Trunk
from meanet_jax.models.mobile_structures import MOBILE_STRUCTURES, MobileStructure
from meanet_jax.models.mobilenet import scaled_width
from meanet_jax.models.own_network import OwnNetwork, own_network


def _cifar_resnet(depth: int) -> StructureConfig:
  blocks = (depth - 2) // 6  # He et al. 2016, section 4.2: 6n + 2 layers
  return StructureConfig("basic", "conv3", 16, (blocks, blocks, blocks), (16, 32, 64), (1, 2, 2))


def _resnet(block: str, stem: str, depths: tuple[int, ...]) -> StructureConfig:
  return StructureConfig(block, stem, 64, depths, (64, 128, 256, 512), (1, 2, 2, 2))  # type: ignore[arg-type]


STRUCTURES: dict[str, StructureConfig | MobileStructure] = {
  "resnet20": _cifar_resnet(20),
  "resnet32": _cifar_resnet(32),
  "resnet44": _cifar_resnet(44),
  "resnet56": _cifar_resnet(56),
  "resnet101_cifar": _resnet("bottleneck", "conv3", (3, 4, 23, 3)),
  "resnet18": _resnet("basic", "conv7_pool", (2, 2, 2, 2)),
  "resnet34": _resnet("basic", "conv7_pool", (3, 4, 6, 3)),
  "resnet50": _resnet("bottleneck", "conv7_pool", (3, 4, 6, 3)),
  "resnet101": _resnet("bottleneck", "conv7_pool", (3, 4, 23, 3)),
  "mobilenet_v2": StructureConfig(
    block="inverted",
    stem="conv3_stride2",
    stem_width=32,
    depths=(1, 2, 3, 4, 3, 3, 1),
    widths=(16, 24, 32, 64, 96, 160, 320),
    strides=(1, 2, 2, 2, 1, 2, 1),
    expansions=(1, 6, 6, 6, 6, 6, 6),
    final_width=1280,
  ),
  **MOBILE_STRUCTURES,
}


def network_structure(network: NetworkConfig, path: str) -> StructureConfig | MobileStructure:
  """The structure of a main block or cloud: named, scaled and cut as configured.

  Args:
    network: the configuration.
    path: the configuration field's name, for messages.

  Raises:
    UserError: an unknown name, a structure beside a name, an impossible split or multiplier.
  """
  if network.name == "custom":
    structure = network.structure
  elif network.name not in STRUCTURES:
    raise UserError(
      f"{path}.name is {network.name!r}; {nearest(network.name, [*STRUCTURES, 'custom'])}"
    )
  elif network.structure != StructureConfig():
    raise UserError(
      f"{path}.structure is set beside {path}.name {network.name!r}; accepted: one of them"
    )
  else:
    structure = STRUCTURES[network.name]
  if isinstance(structure, StructureConfig):
    check_structure(structure, f"{path}.structure")
  if network.width_multiplier != 1:
    structure = _scale(structure, network.width_multiplier, path)
  if network.split_after:
    structure = _split(structure, network.split_after, path)
  return structure


def check_structure(structure: StructureConfig, path: str) -> None:
  """Refuses a structure whose stages do not fit together."""
  stages = len(structure.depths)
  if not stages and structure.stem == "none":
    raise UserError(f"{path} is empty; accepted: a stem or at least one stage")
  for name in ("widths", "strides"):
    found = len(getattr(structure, name))
    if found != stages:
      raise UserError(
        f"{path}.{name} has {found} entries; accepted: {stages}, one per stage of depths"
      )
  expected = stages if structure.block == "inverted" else 0
  if len(structure.expansions) != expected:
    raise UserError(
      f"{path}.expansions has {len(structure.expansions)} entries; "
      f"accepted: {expected} with {structure.block!r} blocks"
    )
  if (structure.stem == "none") != (structure.stem_width == 0):
    raise UserError(
      f"{path}.stem_width is {structure.stem_width} with stem {structure.stem!r}; "
      "accepted: 0 without a stem, at least 1 with one"
    )


def build(config: Config, axis_name: str | None = None) -> MEANet:
  """The MEANet of a configuration; its shapes are checked before anything compiles.

  Args:
    config: the experiment.
    axis_name: the mapped axis that synchronised batch norm averages over in training; None for one
      device.

  Raises:
    UserError: an impossible structure, or features that do not meet (with the two shapes).
  """
  if config.dataset.incomplete:
    raise UserError(
      f"dataset.num_classes is {config.dataset.num_classes} and dataset.image_shape "
      f"{config.dataset.image_shape}; accepted where no images are read: above 0, as meanet train "
      "writes them into config.json"
    )
  model = config.model
  check_structure(model.extension, "model.extension")
  axis = axis_name if model.batch_norm == "synchronised" else None
  numerics = {"dtype": jnp.dtype(model.compute_dtype), "axis_name": axis}

  def network(block: str) -> Network | OwnNetwork:
    settings: NetworkConfig = getattr(model, block)
    frozen = config.stage(block).freeze
    if settings.module:
      if frozen:
        raise UserError(
          f"stages.{block}.freeze is {frozen} beside model.{block}.module; accepted: 0, and "
          f"stages.{block}.learning_rate_factors with NAME=0"
        )
      return own_network(config, block, **numerics)
    if settings.arguments:
      raise UserError(
        f"model.{block}.arguments is {settings.arguments!r} without model.{block}.module; "
        "accepted: both or none"
      )
    structure = network_structure(settings, f"model.{block}")
    if block == "main" and config.baselines.static and isinstance(structure, MobileStructure):
      raise UserError(
        f"baselines.static is {config.baselines.static:g} and model.main.name {settings.name!r}; "
        "accepted: 0 with it, because widths of ResNets, MobileNetV2 and own structures alone can "
        "be changed"
      )
    if frozen > len(structure.depths):
      raise UserError(
        f"stages.{block}.freeze is {frozen}; accepted: at most {len(structure.depths)}, the stages "
        f"of model.{block}"
      )
    return Network(
      structure,
      config.dataset.num_classes,
      settings.head_pool,
      settings.dropout,
      **numerics,
      frozen=frozen,
    )

  adaptive = None
  if model.join != "none":
    check_structure(model.adaptive, "model.adaptive")
    adaptive = Trunk(model.adaptive, **numerics)
  elif model.join_dropout:
    raise UserError(
      f"model.join_dropout is {model.join_dropout:g} with model.join 'none', where the extension "
      "has main's features alone; accepted: 0, or another join"
    )
  net = MEANet(
    main=network("main"),
    extension=Network(model.extension, config.extension_outputs, **numerics),
    cloud=network("cloud"),
    adaptive=adaptive,
    join=model.join,
    join_dropout=model.join_dropout,
  )
  _check_meeting(net, config)
  return net


def _check_meeting(net: MEANet, config: Config) -> None:
  # Copies that belong to no module: shapes are wanted, not variables.
  main = _features_shape(net.main.clone(parent=None), "features", config.dataset.image_shape)
  model = config.model
  for block, network, pool in (
    ("main", net.main, model.main.head_pool),
    ("cloud", net.cloud, model.cloud.head_pool),
  ):
    if not pool:
      continue
    found = _features_shape(network.clone(parent=None), "features", config.dataset.image_shape)
    if pool > min(found[:2]):
      raise UserError(
        f"model.{block}.head_pool is {pool}; accepted: at most {min(found[:2])}, for features "
        f"{found}"
      )
  if net.adaptive is None:
    return
  adaptive = _features_shape(
    net.adaptive.clone(parent=None), "__call__", config.dataset.image_shape
  )
  meet = main == adaptive if net.join == "sum" else main[:2] == adaptive[:2]
  if not meet:
    what = "shapes" if net.join == "sum" else "height and width"
    raise UserError(
      f"model.join {net.join!r} cannot join main features {main} with adaptive features "
      f"{adaptive}; accepted: the same {what}"
    )


@functools.lru_cache(maxsize=16)  # a run builds its model for training and again to evaluate
def _features_shape(
  network: Trunk | Network | OwnNetwork, method: str, image_shape: tuple[int, ...]
) -> tuple[int, ...]:
  image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  shaped, _ = jax.eval_shape(
    lambda x: network.init_with_output(jax.random.key(0), x, False, method=method), image
  )
  return shaped.shape[1:]


def _scale(
  structure: StructureConfig | MobileStructure, multiplier: float, path: str
) -> StructureConfig:
  if isinstance(structure, MobileStructure) or structure.block != "inverted":
    blocks = structure.family if isinstance(structure, MobileStructure) else structure.block
    raise UserError(f"{path}.width_multiplier is {multiplier}; accepted: 1 with {blocks!r} blocks")
  return dataclasses.replace(
    structure,
    stem_width=scaled_width(structure.stem_width, multiplier),
    widths=tuple(scaled_width(width, multiplier) for width in structure.widths),
    # The last 1x1 convolution never shrinks (Sandler et al. 2018, section 6.1).
    final_width=scaled_width(structure.final_width, max(1.0, multiplier)),
  )


def _split(
  structure: StructureConfig | MobileStructure, stages: int, path: str
) -> StructureConfig | MobileStructure:
  if stages >= len(structure.depths):
    raise UserError(
      f"{path}.split_after is {stages}; accepted: 0 (whole) to {len(structure.depths) - 1}"
    )
  if isinstance(structure, MobileStructure):
    return dataclasses.replace(
      structure, stages=structure.stages[:stages], final_width=0, hidden_width=0
    )
  return dataclasses.replace(
    structure,
    depths=structure.depths[:stages],
    widths=structure.widths[:stages],
    strides=structure.strides[:stages],
    expansions=structure.expansions[:stages],
    final_width=0,
  )
