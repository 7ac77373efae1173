"""A plain network of wanted cost: main's structure, every width times the same factor."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from meanet_jax.config.networks import NetworkConfig, StructureConfig
from meanet_jax.config.schema import Config
from meanet_jax.cost.macs import count_macs
from meanet_jax.models.meanet import Network
from meanet_jax.models.zoo import network_structure


def widened_main(config: Config, macs: float | int) -> NetworkConfig:
  """Main's network with the widths that bring its MACs per image closest to the wanted ones.

  The factor is a multiple of 1 / (its largest width), found by bisection: MACs grow with widths.
  Depths, strides and head stay; the network starts from fresh weights.

  Args:
    config: the experiment; `model.main` is what is widened (or narrowed).
    macs: wanted multiply-accumulates for one image, above 0.
  """
  main = config.model.main
  structure = network_structure(main, "model.main")
  assert isinstance(structure, StructureConfig)  # `build` refuses the others
  unit = max(structure.stem_width, structure.final_width, *structure.widths, 1)

  @functools.cache  # a trace each
  def macs_at(number: int) -> int:
    return _network_macs(config, _times(structure, number / unit))

  enough = 1
  while macs_at(enough) < macs:
    enough *= 2
  below = enough // 2  # too small, or 0, which is no width
  while enough - below > 1:
    middle = (below + enough) // 2
    below, enough = (middle, enough) if macs_at(middle) < macs else (below, middle)
  near = [number for number in (below, enough) if number]
  number = min(near, key=lambda number: abs(macs_at(number) - macs))
  return dataclasses.replace(
    main,
    name="custom",
    structure=_times(structure, number / unit),
    width_multiplier=1.0,
    split_after=0,
    pretrained="",
    reset_head=False,
  )


def _times(structure: StructureConfig, factor: float) -> StructureConfig:
  def scaled(width: int) -> int:
    return max(1, round(width * factor)) if width else 0

  return dataclasses.replace(
    structure,
    stem_width=scaled(structure.stem_width),
    widths=tuple(scaled(width) for width in structure.widths),
    final_width=scaled(structure.final_width),
  )


def _network_macs(config: Config, structure: StructureConfig) -> int:
  network = Network(structure, config.dataset.num_classes, config.model.main.head_pool)
  image = jax.ShapeDtypeStruct((1, *config.dataset.image_shape), jnp.float32)
  variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, False), image)
  return count_macs(lambda variables, x: network.apply(variables, x, False), variables, image)
