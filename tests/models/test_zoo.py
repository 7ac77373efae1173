import dataclasses

import pytest
from ml_collections import ConfigDict

from meanet_jax.config.parsing import resolve
from meanet_jax.errors import UserError
from meanet_jax.models.mobilenet import scaled_width
from meanet_jax.models.zoo import STRUCTURES, build, network_structure
from tests.experiments import tiny_config


def refusal(change) -> str:
  config: ConfigDict = tiny_config()
  change(config)
  with pytest.raises(UserError) as caught:
    build(resolve(config))
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_features_that_do_not_meet_are_refused_with_both_shapes():
  def unlike_size(config):
    config.model.adaptive.strides = (1,)

  message = refusal(unlike_size)
  assert "(4, 4, 4)" in message
  assert "(8, 8, 4)" in message


def test_a_dropout_of_features_that_nothing_joins_is_refused():
  def no_adaptive(config):
    config.model.join, config.model.join_dropout = "none", 0.5

  assert "model.join_dropout is 0.5 with model.join 'none'" in refusal(no_adaptive)


def test_sum_of_unlike_channels_is_refused_and_concat_is_not():
  def unlike_channels(config):
    config.model.adaptive.widths = (6,)
    config.model.join = "sum"

  message = refusal(unlike_channels)
  assert "(4, 4, 4)" in message
  assert "(4, 4, 6)" in message
  config = tiny_config()
  config.model.adaptive.widths = (6,)
  build(resolve(config))


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda c: c.model.main.update(name="resnet33"), ["model.main.name", "'resnet33'", "resnet32"]),
    (lambda c: c.model.main.update(name="resnet20"), ["model.main.structure", "resnet20"]),
    (lambda c: c.model.main.structure.update(widths=(4, 8)), ["widths has 2 entries", "1"]),
    (lambda c: c.model.cloud.structure.update(strides=()), ["model.cloud", "strides has 0"]),
    (lambda c: c.model.extension.update(depths=()), ["model.extension", "is empty"]),
    (lambda c: c.model.extension.update(expansions=(2,)), ["expansions has 1", "accepted: 0"]),
    (lambda c: c.model.main.structure.update(stem_width=0), ["stem_width is 0", "conv3"]),
    (lambda c: c.model.main.update(split_after=1), ["split_after is 1", "0"]),
    (lambda c: c.model.main.update(width_multiplier=0.5), ["width_multiplier is 0.5", "basic"]),
    (lambda c: c.model.main.update(head_pool=5), ["main.head_pool is 5", "at most 4"]),
    (lambda c: c.model.cloud.update(head_pool=9), ["cloud.head_pool is 9", "at most"]),
  ],
)
def test_impossible_structures_are_refused(change, words):
  message = refusal(change)
  for word in words:
    assert word in message


def test_split_keeps_the_first_stages_and_no_final_convolution():
  config = resolve(tiny_config())
  network = dataclasses.replace(config.model.main, name="mobilenet_v2", split_after=4)
  network = dataclasses.replace(network, structure=type(network.structure)())
  structure = network_structure(network, "model.main")
  whole = STRUCTURES["mobilenet_v2"]
  assert structure.depths == whole.depths[:4]
  assert structure.expansions == whole.expansions[:4]
  assert structure.final_width == 0


@pytest.mark.parametrize(
  ("width", "multiplier", "expected"),
  # Channels of the published MobileNetV2 0.35, 0.5, 0.75 and 1.4.
  [
    (32, 0.35, 16),
    (24, 0.35, 8),
    (96, 0.5, 48),
    (24, 0.75, 24),
    (160, 0.75, 120),
    (96, 1.4, 136),  # of 134.4 to the nearest, which is larger
    (320, 1.4, 448),
  ],
)
def test_scaled_widths(width, multiplier, expected):
  assert scaled_width(width, multiplier) == expected
