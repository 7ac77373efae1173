"""Networks of a wanted cost, against a search of every factor."""

import dataclasses

import jax
import pytest

from meanet_jax.config.baselines import BaselinesConfig
from meanet_jax.config.networks import NetworkConfig, StructureConfig
from meanet_jax.config.schema import Config
from meanet_jax.cost.macs import count_macs
from meanet_jax.errors import UserError
from meanet_jax.models.costs import block_functions
from meanet_jax.models.widening import widened_main
from meanet_jax.models.zoo import build

EXTENSION = StructureConfig(depths=(1,), widths=(8,), strides=(1,))
CLOUD = NetworkConfig(structure=StructureConfig("basic", "conv3", 8, (1,), (8,), (2,)))
MAINS = {
  "basic": NetworkConfig(structure=StructureConfig("basic", "conv3", 4, (1, 1), (4, 6), (1, 2))),
  "split": NetworkConfig(
    structure=StructureConfig("basic", "conv3", 4, (1, 1, 1), (4, 6, 8), (1, 2, 2)),
    split_after=2,
    head_pool=2,
  ),
  "inverted": NetworkConfig(
    structure=StructureConfig("inverted", "conv3", 4, (1,), (6,), (1,), (2,), final_width=12),
    width_multiplier=2.0,
  ),
}


def config_of(main: NetworkConfig) -> Config:
  config = Config()
  model = dataclasses.replace(
    config.model, main=main, extension=EXTENSION, cloud=CLOUD, join="none"
  )
  return dataclasses.replace(config, model=model)


def main_macs(config: Config) -> int:
  with jax.numpy_dtype_promotion("standard"):  # of Flax's average pool
    function, arguments = block_functions(build(config), config.dataset.image_shape)["main"]
    return count_macs(function, *arguments)


def widened(config: Config, macs: float | int) -> NetworkConfig:
  with jax.numpy_dtype_promotion("standard"):
    return widened_main(config, macs)


def test_a_structure_whose_widths_no_field_describes_is_refused_before_anything_trains():
  config = config_of(NetworkConfig(name="mobilenet_v3_small"))
  beside = dataclasses.replace(config, baselines=BaselinesConfig(1.0))
  with pytest.raises(
    UserError, match=r"^baselines\.static is 1 and model\.main\.name 'mobilenet_v3_small'; acc"
  ):
    build(beside)


@pytest.mark.parametrize("name", MAINS)
def test_macs_come_closest_to_the_wanted_ones(name):
  config = config_of(MAINS[name])
  own = main_macs(config)
  for multiple in (0.4, 1.0, 3.0):
    found = widened(config, multiple * own)
    wide = config_of(found)
    assert main_macs(wide) == pytest.approx(multiple * own, rel=0.35 if multiple < 1 else 0.12)
    assert (found.head_pool, found.split_after) == (MAINS[name].head_pool, 0)
  assert main_macs(config_of(widened(config, own))) == own  # its own widths are among them
  assert widened(config, 1.0).structure.stem_width == 1  # as narrow as can be


def test_every_factor_is_tried():
  config = config_of(MAINS["basic"])
  structure = MAINS["basic"].structure
  wanted = 2.3 * main_macs(config)

  def sized(number: int) -> int:
    width = {size: max(1, round(size * number / 6)) for size in (4, 6)}
    wide = dataclasses.replace(structure, stem_width=width[4], widths=(width[4], width[6]))
    return main_macs(config_of(NetworkConfig(structure=wide)))

  best = min(abs(sized(number) - wanted) for number in range(1, 16))
  found = config_of(widened(config, wanted))
  assert abs(main_macs(found) - wanted) == best
