"""Every network of the zoo in every place, from shapes and lowered programs alone."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from benchmarks.network_costs import BATCH, CLASSES, abstract_step, experiment
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.models.costs import block_functions
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import STRUCTURES, build
from meanet_jax.training.stages import EDGE, JOINT
from tests.models.deep import tiered

CIFAR = ((32, 16), (16, 32), (8, 64))
BASIC = ((56, 64), (28, 128), (14, 256), (7, 512))
BOTTLENECK = ((56, 256), (28, 512), (14, 1024), (7, 2048))
MOBILENET = ((112, 16), (56, 24), (28, 32), (14, 64), (14, 96), (7, 160), (7, 320))
EFFICIENTNET = ((112, 16), (56, 24), (28, 40), (14, 80), (14, 112), (7, 192), (7, 320))
# Height (and width) and channels after each stage, from the papers' tables, for images of 32x32
# where the stem is a 3x3 convolution of stride 1, and 224x224 elsewhere.
FEATURES = {
  "resnet20": CIFAR,
  "resnet32": CIFAR,
  "resnet44": CIFAR,
  "resnet56": CIFAR,
  "resnet101_cifar": ((32, 256), (16, 512), (8, 1024), (4, 2048)),
  "resnet18": BASIC,
  "resnet34": BASIC,
  "resnet50": BOTTLENECK,
  "resnet101": BOTTLENECK,
  "mobilenet_v2": MOBILENET,
  "mobilenet_v3_small": ((56, 16), (28, 24), (14, 40), (14, 48), (7, 96)),
  "mobilenet_v3_large": ((112, 16), (56, 24), (28, 40), (14, 80), (14, 112), (7, 160)),
  "efficientnet_b0": EFFICIENTNET,
  "efficientnet_lite0": EFFICIENTNET,
}
# Of each kind of block and stem one network is split after every stage; the others stay whole.
SPLIT = (
  "resnet20",
  "resnet18",
  "resnet50",
  "resnet101_cifar",
  "mobilenet_v2",
  "mobilenet_v3_small",
)
PLACES = [(name, 0) for name in FEATURES] + [
  (name, stages) for name in SPLIT for stages in range(1, len(FEATURES[name]))
]


@pytest.fixture(autouse=True)
def libraries_promote() -> Iterator[None]:
  """optax's schedules mix floats with integers."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture
def compilations() -> Iterator[list[str]]:
  """Grows with whatever XLA compiles."""
  found: list[str] = []

  def listen(event: str, duration: float, **_: Any) -> None:
    if "backend_compile" in event:
      found.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield found
  jax.monitoring.unregister_event_duration_listener(listen)


def test_compilations_are_heard_of(compilations):
  jax.jit(lambda x: x + 2)(jnp.zeros(3))
  assert compilations


def test_every_network_has_a_place():
  assert FEATURES.keys() == STRUCTURES.keys()


def is_joined(module: nn.Module, method: str) -> bool:
  """Whether it returns features of the main or of the adaptive block."""
  return method == "main_features" or module.name == "adaptive"


@pytest.mark.parametrize("join", ["concat", pytest.param("sum", marks=pytest.mark.full)])
@pytest.mark.parametrize(("name", "split_after"), tiered(PLACES, lambda place: place[0]))
def test_every_network_is_a_main_block_after_every_stage(name, split_after, join, compilations):
  is_a_main_block(name, split_after, join)
  assert not compilations


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2"])
def test_features_are_joined_by_their_sum(name):
  is_a_main_block(name, 1, "sum")


def is_a_main_block(name: str, split_after: int, join: str) -> None:
  config = experiment(name, split_after, join)
  size, channels = FEATURES[name][split_after - 1]
  model = build(config)
  image = jax.ShapeDtypeStruct((2, *config.dataset.image_shape), jnp.float32)
  outputs, variables = jax.eval_shape(
    lambda x: model.init_with_output(
      jax.random.key(0),
      x,
      Exits.MAIN | Exits.EXTENSION,
      mutable=True,
      capture_intermediates=is_joined,
    ),
    image,
  )
  assert outputs.main.shape == (2, CLASSES)
  assert outputs.extension.shape == (2, CLASSES // 2)
  features = variables["intermediates"]
  for (output,) in (features["main_features"], features["adaptive"]["__call__"]):
    assert output.shape == (2, size, size, channels)
  first = variables["params"]["extension"]["trunk"]["stage1_block1"]["conv1"]["conv"]["kernel"]
  assert first.shape == (3, 3, channels * (2 if join == "concat" else 1), 64)


def with_adaptive(config: Config, **changes: Any) -> Config:
  adaptive = dataclasses.replace(config.model.adaptive, **changes)
  return dataclasses.replace(config, model=dataclasses.replace(config.model, adaptive=adaptive))


@pytest.mark.parametrize(
  ("name", "split_after"),
  [place for place in PLACES if place[0] in ("resnet20", "resnet18", "resnet50", "mobilenet_v2")],
)
def test_what_does_not_meet_is_refused_before_anything_compiles(name, split_after, compilations):
  size, channels = FEATURES[name][split_after - 1]
  main = f"main features ({size}, {size}, {channels})"
  config = experiment(name, split_after)
  strides = config.model.adaptive.strides
  smaller = with_adaptive(config, strides=(*strides[:-1], size * strides[-1]))
  with pytest.raises(UserError) as caught:
    build(smaller)
  assert f"{main} with adaptive features (1, 1, {channels})" in str(caught.value)
  summed = experiment(name, split_after, "sum")
  widths = summed.model.adaptive.widths
  wider = with_adaptive(summed, widths=(*widths[:-1], 2 * widths[-1]))
  with pytest.raises(UserError) as caught:
    build(wider)
  assert f"{main} with adaptive features ({size}, {size}, {2 * channels})" in str(caught.value)
  assert not compilations


@pytest.mark.parametrize("name", FEATURES)
def test_no_split_after_the_last_stage(name):
  stages = len(FEATURES[name])
  config = experiment(name)
  main = dataclasses.replace(config.model.main, split_after=stages)
  config = dataclasses.replace(config, model=dataclasses.replace(config.model, main=main))
  with pytest.raises(UserError, match=rf"split_after is {stages}; accepted: 0 .* to {stages - 1}"):
    build(config)


@pytest.mark.parametrize(("multiplier", "channels"), [(0.35, 112), (0.5, 160), (1.4, 448)])
def test_scaled_mobilenets_are_main_blocks_and_clouds(multiplier, channels):
  config = experiment("mobilenet_v2")
  main, cloud = (
    dataclasses.replace(network, width_multiplier=multiplier)
    for network in (config.model.main, config.model.cloud)
  )
  model = build(
    dataclasses.replace(config, model=dataclasses.replace(config.model, main=main, cloud=cloud))
  )
  variables = abstract_variables(model, config.dataset.image_shape)
  joined = channels + 320
  for block, features in (("main", channels), ("cloud", channels), ("extension", joined)):
    leaves = jax.tree.leaves_with_path(variables[block]["params"])
    inputs = {leaf.shape[-2] for path, leaf in leaves if leaf.ndim == 4}
    assert features in inputs
  final = max(1280, round(1280 * multiplier))
  assert variables["main"]["params"]["head"]["dense"]["kernel"].shape == (final, CLASSES)


def lowered_flops(function: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
  """Of the program that XLA is given."""
  return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


@pytest.mark.parametrize("name", tiered(FEATURES))
def test_masks_and_the_edge_stage_of_every_network(name):
  """By the programs that XLA is given: it leaves work out, but adds no pass that is not in them.

  benchmarks/network_costs.py compiles the same steps, test_costs.py the paper's.
  """
  config = experiment(name)
  model = build(config)
  functions = block_functions(model, config.dataset.image_shape, BATCH)
  main, adaptive, extension = (
    lowered_flops(*functions[block]) for block in ("main", "adaptive", "extension")
  )

  def cost_and_blocks(exits: Exits) -> tuple[float, set[str]]:
    """Lowered flops, and the blocks of whose variables the jaxpr reads any."""
    arguments = functions["main"][1]
    traced = jax.jit(lambda v, x: model.apply(v, x, exits)).trace(*arguments)
    read = {id(x) for equation in traced.jaxpr.eqns for x in equation.invars}
    leaves = jax.tree.leaves_with_path(arguments)
    inputs = zip(leaves, traced.jaxpr.jaxpr.invars, strict=True)
    blocks = {path[2].key for (path, _), x in inputs if id(x) in read and len(path) > 1}
    for logits in (traced.out_info.main, traced.out_info.cloud):
      assert logits is None or logits.shape == (BATCH, CLASSES)
    return traced.lower().cost_analysis()["flops"], blocks

  assert cost_and_blocks(Exits.MAIN) == (main, {"main"})
  assert cost_and_blocks(Exits.CLOUD) == (main, {"cloud"})  # the same network
  both, blocks = cost_and_blocks(Exits.MAIN | Exits.EXTENSION)
  assert blocks == {"main", "adaptive", "extension"}
  assert both == pytest.approx(main + adaptive + extension, rel=1e-4)
  edge = lowered_flops(*abstract_step(model, config, EDGE))
  assert main + 2 * (adaptive + extension) < edge <= main + 3.1 * (adaptive + extension)


def test_a_step_with_mains_backward_pass_exceeds_the_bound():
  config = experiment("resnet20")
  model = build(config)
  functions = block_functions(model, config.dataset.image_shape, BATCH)
  main, adaptive, extension = (
    lowered_flops(*functions[block]) for block in ("main", "adaptive", "extension")
  )
  joint = lowered_flops(*abstract_step(model, config, JOINT))
  assert joint > 1.3 * (main + 3.1 * (adaptive + extension))
