import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.schema import Config
from meanet_jax.models.costs import block_macs
from meanet_jax.models.layers import ConvNorm
from meanet_jax.models.meanet import BLOCKS, Exits
from meanet_jax.models.resnet import Bottleneck
from meanet_jax.models.variables import by_collection, init_variables
from meanet_jax.models.zoo import build

JOINS = ("concat", "sum", "none")


def flops(function, *args) -> float:
  return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


def network(config: Config):
  model = build(config)
  blocks = tuple(b for b in BLOCKS if b != "adaptive" or config.model.join != "none")
  variables = by_collection(init_variables(model, 0, config.dataset.image_shape, blocks))
  images = jax.random.normal(jax.random.key(1), (4, *config.dataset.image_shape))
  return model, variables, images


def with_join(config: Config, join: str) -> Config:
  return dataclasses.replace(config, model=dataclasses.replace(config.model, join=join))


def test_a_masked_exit_costs_nothing(tiny):
  model, variables, images = network(tiny)

  def cost(exits: Exits) -> float:
    return flops(lambda v, x: model.apply(v, x, exits), variables, images)

  main_alone = flops(
    lambda v, x: model.main.clone(parent=None).apply(
      {name: tree["main"] for name, tree in v.items()}, x, False
    ),
    variables,
    images,
  )
  assert cost(Exits.MAIN) == main_alone
  parts = cost(Exits.MAIN | Exits.EXTENSION) + cost(Exits.CLOUD)
  # Compiled together, work on the shared image may be fused; nothing more may appear.
  assert cost(Exits.ALL) == pytest.approx(parts, rel=0.01)
  assert cost(Exits.MAIN) < cost(Exits.MAIN | Exits.EXTENSION) < cost(Exits.ALL)


def test_the_mask_decides_which_logits_exist_and_not_what_they_are(tiny):
  model, variables, images = network(tiny)
  everything = model.apply(variables, images, Exits.ALL)
  assert everything.main.shape == everything.cloud.shape == (4, 10)
  assert everything.extension.shape == (4, 5)
  for name, exit in zip(
    everything._fields, (Exits.MAIN, Exits.EXTENSION, Exits.CLOUD), strict=True
  ):
    alone = model.apply(variables, images, exit)
    assert [f for f in alone._fields if getattr(alone, f) is not None] == [name]
    np.testing.assert_array_equal(getattr(alone, name), getattr(everything, name))


def test_one_trace_per_mask(tiny):
  model, variables, images = network(tiny)
  traces = []

  def forward(v, x, exits):
    traces.append(exits)
    return model.apply(v, x, exits)

  compiled = jax.jit(forward, static_argnames="exits")
  for exits in (Exits.MAIN, Exits.ALL, Exits.MAIN, Exits.MAIN | Exits.EXTENSION | Exits.CLOUD):
    compiled(variables, images, exits=exits)
  assert traces == [Exits.MAIN, Exits.ALL]


@pytest.mark.parametrize("join", JOINS)
def test_extension_gradient_reaches_adaptive_and_extension_only(tiny, join):
  model, variables, images = network(with_join(tiny, join))

  def loss(params):
    train = ("adaptive", "extension")
    outputs, _ = model.apply(
      {**variables, "params": params}, images, Exits.EXTENSION, train, mutable=["batch_stats"]
    )
    return jnp.sum(outputs.extension**2)

  gradients = jax.grad(loss)(variables["params"])
  learns = {
    block: any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(tree))
    for block, tree in gradients.items()
  }
  expected = {"main": False, "extension": True, "cloud": False, "adaptive": True}
  if join == "none":
    del expected["adaptive"]
  assert learns == expected


@pytest.mark.parametrize("join", JOINS)
def test_split_calls_equal_the_whole(tiny, join):
  """What the device runs - main, then the extension on kept features - is the same network."""
  model, variables, images = network(with_join(tiny, join))
  features = model.apply(variables, images, method="main_features")
  extension = model.apply(variables, images, features, method="extend")
  whole = model.apply(variables, images, Exits.EXTENSION)
  np.testing.assert_array_equal(extension, whole.extension)


def test_macs_of_blocks_by_hand(tiny):
  macs = block_macs(build(tiny), tiny.dataset.image_shape)
  stem_and_block = 64 * 4 * 1 * 9 + 16 * 4 * (4 * 9 + 4 * 9 + 4)  # 8x8 stem, 4x4 BB4 + shortcut
  assert macs.main == stem_and_block + 4 * 10
  extension_block = 16 * 8 * (8 * 9 + 8 * 9)  # 8 channels in (concat), 8 out: identity shortcut
  assert macs.extension == stem_and_block + extension_block + 8 * 5
  assert macs.cloud == 64 * 8 * 9 + 16 * 8 * (8 * 9 + 8 * 9 + 8) + 8 * 10


def test_a_fresh_bottleneck_is_its_shortcut():
  """Else a deep ResNet enlarges rounding differences from block to block until they are noise."""
  x = jax.random.normal(jax.random.key(0), (4, 6, 6, 8))
  for width, stride in ((2, 1), (4, 2)):
    block = Bottleneck(width, stride)
    variables = block.init(jax.random.key(1), x, False)
    found, _ = block.apply(variables, x, True, mutable=["batch_stats"])
    expected = x
    if "shortcut" in variables["params"]:
      layer = ConvNorm(4 * width, kernel=1, stride=stride, activation=None)
      own = {name: tree["shortcut"] for name, tree in variables.items()}
      expected, _ = layer.apply(own, x, True, mutable=["batch_stats"])
    np.testing.assert_array_equal(found, jnp.maximum(expected, 0))


def test_the_extension_learns_from_some_images_without_mains_features(tiny):
  """Rows of zeros in training, other ones with every key, and none in evaluation."""
  config = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, join_dropout=0.25))
  model, variables, _ = network(config)
  images = jax.random.normal(jax.random.key(1), (256, *config.dataset.image_shape))
  features = model.apply(variables, images, method="main_features")
  joined = []

  def record(call, arguments, keywords, context):
    if context.method_name == "joined":
      joined.append(arguments[0])
    return call(*arguments, **keywords)

  def extend(train: bool, seed: int):
    with nn.intercept_methods(record):
      model.apply(
        variables,
        images,
        features,
        train,
        method="extend",
        rngs={"dropout": jax.random.key(seed)},
        mutable=["batch_stats"],
      )
    return np.asarray(joined.pop())

  np.testing.assert_array_equal(extend(False, 0), features)
  dropped = []
  for seed in (0, 1):
    seen = extend(True, seed)
    kept = (seen != 0).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(seen, np.where(kept[:, None, None, None], features, 0))
    # 64 are expected; beyond 29 to 99, 5 standard deviations, once in two million seeds.
    assert 29 <= (~kept).sum() <= 99
    dropped.append(kept)
  assert (dropped[0] != dropped[1]).any()
