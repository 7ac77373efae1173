"""The paper's networks, told apart by numbers: MACs, parameters, and compiled flops."""

import importlib
import json
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest

from benchmarks.network_costs import BATCH, abstract_step
from meanet_jax.commands.summary import summarise
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.cost.macs import count_macs
from meanet_jax.models.costs import (
  activation_bytes,
  block_functions,
  block_macs,
  compiled_flops,
  exported_bytes,
)
from meanet_jax.models.meanet import Exits
from meanet_jax.models.resnet import Bottleneck
from meanet_jax.models.variables import abstract_variables, by_collection
from meanet_jax.models.zoo import build
from meanet_jax.training.stages import EDGE
from tests.experiments import TINY_FILE
from tests.forked_commands import run_command

PAPER = (
  "cifar100_resnet32_a",
  "cifar100_resnet32_b",
  "imagenet_resnet18_b",
  "imagenet_mobilenet_v2_b",
)


def paper(name: str) -> Config:
  return resolve(importlib.import_module(f"configs.{name}").get_config())


def test_the_cifar_costs():
  """Of the jaxpr; what XLA makes of them is compiled in the full tier."""
  config = paper("cifar100_resnet32_b")
  model = build(config)
  macs = block_macs(model, config.dataset.image_shape)
  assert (round(macs.main / 1e6, 1), round(macs.extension / 1e6, 1)) == (69.1, 12.5 + 21.8)
  main = abstract_variables(model, config.dataset.image_shape)["main"]["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(main)) == 472_756


@pytest.mark.full
def test_the_reference_costs_to_three_figures():
  summary = summarise(paper("cifar100_resnet32_b"))
  macs = {block: round(cost["macs"] / 1e6, 1) for block, cost in summary["blocks"].items()}
  assert macs["main"] == 69.1
  assert macs["adaptive"] == 12.5
  assert macs["extension"] == 21.8
  assert summary["blocks"]["main"]["parameters"] == 472_756
  # Folded: one bias per norm instead of scale and bias.
  assert summary["blocks"]["main"]["exported_bytes"] < 4 * 472_756
  for cost in summary["blocks"].values():
    # XLA counts a multiply and an add, leaves out padding, adds norms and activations.
    assert 1.6 * cost["macs"] < cost["flops"] < 2.2 * cost["macs"]
  training = {name: cost["activation_bytes"] for name, cost in summary["training"].items()}
  assert training["edge"] < 0.5 * training["whole_edge_network"]


@pytest.mark.parametrize(
  ("name", "adaptive", "extension"),
  [
    ("imagenet_resnet18_b", 0.889e9, 1.066e9),
    pytest.param("imagenet_mobilenet_v2_b", 42e6, 62e6, marks=pytest.mark.full),
  ],
)
def test_the_imagenet_costs(name, adaptive, extension):
  config = paper(name)
  model = build(config)
  macs = block_macs(model, config.dataset.image_shape)
  assert macs.extension == pytest.approx(adaptive + extension, rel=0.005)


@pytest.fixture(autouse=True)
def libraries_promote() -> Iterator[None]:
  """optax's schedules and Flax's avg_pool mix floats with integers."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.mark.full
@pytest.mark.parametrize("name", PAPER)
def test_a_masked_exit_costs_nothing(name):
  config = paper(name)
  model = build(config)
  functions = block_functions(model, config.dataset.image_shape)
  alone = {block: compiled_flops(*parts[:1], *parts[1]) for block, parts in functions.items()}
  variables = by_collection(abstract_variables(model, config.dataset.image_shape))
  image = jax.ShapeDtypeStruct((1, *config.dataset.image_shape), jnp.float32)

  def cost(exits: Exits) -> float:
    return compiled_flops(lambda v, x: model.apply(v, x, exits), variables, image)

  assert cost(Exits.MAIN) == alone["main"]
  assert cost(Exits.CLOUD) == alone["cloud"]
  edge = alone["main"] + alone["adaptive"] + alone["extension"]
  assert cost(Exits.MAIN | Exits.EXTENSION) == pytest.approx(edge, rel=0.01)
  assert cost(Exits.EXTENSION) < cost(Exits.MAIN | Exits.EXTENSION)


@pytest.mark.full
@pytest.mark.parametrize("name", PAPER)
def test_the_edge_stage_has_no_backward_pass_through_main(name):
  config = paper(name)
  model = build(config)
  step, arguments = abstract_step(model, config, EDGE)
  edge = compiled_flops(step, *arguments)
  forward = {
    block: compiled_flops(function, *arguments)
    for block, (function, arguments) in block_functions(
      model, config.dataset.image_shape, BATCH
    ).items()
    if block != "cloud"
  }
  assert edge <= forward["main"] + 3.1 * (forward["adaptive"] + forward["extension"])
  assert edge >= forward["main"] * 0.9 + 2 * (forward["adaptive"] + forward["extension"])


def test_activation_bytes_of_a_layer_by_hand(tiny):
  """Linear in the batch, and larger for whatever more is trained."""
  model = build(tiny)

  def kept(*train: str, batch_size: int = 4) -> int:
    return activation_bytes(
      model, tiny.dataset.image_shape, Exits.MAIN | Exits.EXTENSION, train, batch_size
    )

  assert kept("adaptive", "extension", batch_size=8) == 2 * kept("adaptive", "extension")
  assert kept("extension") < kept("adaptive", "extension") < kept("main", "adaptive", "extension")


def test_the_command_prints_json_and_tables(tmp_path):
  config = tmp_path / "tiny.py"
  config.write_text(TINY_FILE)
  command = ["-m", "meanet_jax", "summary", "--config", config]
  summary = json.loads(run_command(*command, "--json").stdout)
  assert list(summary["blocks"]) == ["main", "adaptive", "extension", "cloud"]
  table = run_command(*command).stdout
  assert f"{summary['blocks']['cloud']['parameters']:,}" in table


def test_a_folded_norm_leaves_one_vector():
  """Of scale, bias, mean and variance the convolution keeps a bias."""
  shapes = {
    "params": {"conv": {"kernel": (3, 3, 2, 5)}, "norm": {"scale": (5,), "bias": (5,)}},
    "batch_stats": {"norm": {"mean": (5,), "var": (5,)}},
  }
  variables = jax.tree.map(jnp.zeros, shapes, is_leaf=lambda x: isinstance(x, tuple))
  assert exported_bytes(variables) == 4 * (3 * 3 * 2 * 5 + 5)


def test_a_bottleneck_strides_at_its_3x3():
  """The first 1x1 sees every pixel (torchvision's ResNet, unlike that of the paper)."""
  block = Bottleneck(width=4, stride=2)
  image = jax.ShapeDtypeStruct((1, 8, 8, 6), jnp.float32)
  variables = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, False), image)
  macs = count_macs(lambda v, x: block.apply(v, x, False), variables, image)
  first, second, last, shortcut = 64 * 6 * 4, 16 * 9 * 4 * 4, 16 * 4 * 16, 16 * 6 * 16
  assert macs == first + second + last + shortcut
