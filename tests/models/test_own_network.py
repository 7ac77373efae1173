"""A user's Linen module as main block or cloud: what it has to keep, and what is refused."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from meanet_jax.config.networks import StructureConfig
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.models.costs import block_macs, count_parameters
from meanet_jax.models.meanet import Exits, MEANet
from meanet_jax.models.own_network import own_modules
from meanet_jax.models.variables import abstract_variables, by_collection
from meanet_jax.models.zoo import build
from tests.experiments import tiny_config

EXAMPLE, ARGUMENTS = "examples.own_network:ConvNeXt", json.dumps({"widths": [6]})
NUMBERS = itertools.count()
# One that keeps the contract, for tests to change in a place.
GOOD = """
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

class Own(nn.Module):
  num_classes: int
  dtype: object = jnp.float32

  def setup(self):
    self.conv = nn.Conv(4, (3, 3), strides=2, dtype=self.dtype)
    self.norm = nn.BatchNorm(dtype=self.dtype)
    self.head = nn.Dense(self.num_classes)

  def features(self, images, train):
    return self.norm(self.conv(images), use_running_average=not train)

  def classify(self, features, train):
    return self.head(jnp.mean(features.astype(jnp.float32), (1, 2)))

class Plain(nn.Module):
  @nn.compact
  def __call__(self, images, train):
    return nn.Dense(10)(jnp.mean(images, (1, 2)))

class NotAModule:
  pass

def function(images, train):
  return images
"""


def with_module(block: str = "main", module: str = EXAMPLE, arguments: str = "") -> ConfigDict:
  config = tiny_config()
  network = getattr(config.model, block)
  network.structure.update(dataclasses.asdict(StructureConfig()))
  network.update(module=module, arguments=arguments)
  return config


@pytest.fixture
def module(tmp_path, monkeypatch):
  """(source, class) -> the name of that class in a new module on the import path."""
  monkeypatch.syspath_prepend(tmp_path)

  def write(source: str, cls: str = "Own") -> str:
    name = f"own_network_of_a_test_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(source)
    return f"{name}:{cls}"

  return write


def refusal(config: ConfigDict) -> str:
  with pytest.raises(UserError) as caught:
    build(resolve(config))
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_the_example_is_a_main_block_of_known_cost():
  config = resolve(with_module(arguments=ARGUMENTS))
  model = build(config)
  variables = abstract_variables(model, config.dataset.image_shape)
  # Stem 3x3 on 8x8; 2x2 downsampling to 4x4; depthwise 5x5, 6 -> 24 -> 6; dense 6 -> 10.
  macs = 64 * 9 * 6 + 16 * (4 * 6 * 6 + 25 * 6 + 2 * 6 * 24) + 60
  assert block_macs(model, config.dataset.image_shape).main == macs
  norm, dense = 2 * 6, 6 * 24 + 24 + 24 * 6 + 6
  parameters = (54 + 6) + (4 * 36 + 6) + (25 * 6 + 6) + norm + dense + (60 + 10)
  assert count_parameters(variables["main"]) == parameters
  assert "head" in variables["main"]["params"]  # as of the module alone, without a level more
  assert variables["main"]["batch_stats"] == {}


def test_a_static_mask_traces_nothing_of_the_other_blocks():
  config = resolve(with_module("cloud", arguments=ARGUMENTS))
  model = build(config)
  collections = by_collection(abstract_variables(model, config.dataset.image_shape))
  image = jax.ShapeDtypeStruct((2, *config.dataset.image_shape), jnp.float32)

  def read(exits: Exits) -> set[str]:
    traced = jax.jit(lambda v, x: model.apply(v, x, exits)).trace(collections, image)
    used = {id(x) for equation in traced.jaxpr.eqns for x in equation.invars}
    leaves = jax.tree.leaves_with_path((collections, image))
    inputs = zip(leaves, traced.jaxpr.jaxpr.invars, strict=True)
    return {path[2].key for (path, _), x in inputs if id(x) in used and len(path) > 1}

  assert read(Exits.MAIN) == {"main"}
  assert read(Exits.CLOUD) == {"cloud"}


def test_bfloat16_computes_in_it_and_keeps_float32():
  config = with_module(arguments=ARGUMENTS)
  config.model.compute_dtype = "bfloat16"
  config = resolve(config)
  with jax.numpy_dtype_promotion("standard"):  # Flax's layer norm mixes types
    model = build(config)
    bfloat16_shapes(config, model)


def bfloat16_shapes(config: Config, model: MEANet) -> None:
  variables = abstract_variables(model, config.dataset.image_shape)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
  image = jax.ShapeDtypeStruct((2, *config.dataset.image_shape), jnp.float32)
  logits, features = jax.eval_shape(
    lambda v, x: model.apply(v, x, method="main_exit"), by_collection(variables), image
  )
  assert (features.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)


def test_a_cloud_may_be_a_plain_call_and_a_main_block_may_not(module):
  name = module(GOOD, "Plain")
  config = resolve(with_module("cloud", name))
  assert block_macs(build(config), config.dataset.image_shape).cloud == 10
  assert "lacks a method; accepted: methods features" in refusal(with_module("main", name))


@pytest.mark.parametrize(
  ("old", "new", "words"),
  [
    ("(self.num_classes)", "(7)", "returns float32 (2, 7) as logits"),
    ("jnp.mean(features.astype(jnp.float32), (1, 2))", "features", "(2, 4, 4, 10) as logits"),
    ("return self.norm(", "return jnp.ravel(", "fails in evaluation mode on images (2, 8, 8, 1)"),
    ("not train)", "not train)[0]", "returns float32 (4, 4, 4) as features"),
    ("return self.norm(", "return 0, self.norm(", "returns tuple as features"),
    (
      "return self.head(",
      "jax.random.normal(self.make_rng('dropout'), (2,)); return self.head(",
      "draws random numbers in evaluation mode",
    ),
    (
      "return self.head(",
      "train and self.make_rng('other'); return self.head(",
      "draws random numbers in training mode",
    ),
    (
      "self.head = ",
      "self.calls = self.variable('calls', 'count', lambda: jnp.zeros(())); self.head = ",
      "keeps state in 'calls'",
    ),
    ("import jax\n", "import nothing_of_this_name\n", "cannot be imported (ModuleNotFoundError"),
    ("class Own(nn.Module):", "class Own(nn.Module:", "cannot be imported (SyntaxError"),
    ("not train)", "False)", "fails in evaluation mode"),
    (
      "self.head = ",
      "self.scale = self.param('scale', lambda _: jnp.ones(3, jnp.int32)); self.head = ",
      "keeps int32 variables",
    ),
    (
      "return self.head(",
      "return self.head(2 * features[..., 0, 0, :2] if train else ",
      "fails in training mode",
    ),
  ],
)
def test_a_module_that_breaks_the_contract_is_refused_before_anything_compiles(
  module, old, new, words
):
  assert GOOD.count(old) >= 1
  message = refusal(with_module("main", module(GOOD.replace(old, new, 1))))
  assert words in message
  assert message.startswith("model.main.module ")


@pytest.mark.parametrize(
  ("cls", "words"),
  [
    ("NotAModule", "a class that inherits from nn.Module"),
    ("function", "a class that inherits from nn.Module"),
    ("Onw", "did you mean 'Own'?"),
    ("Plain", "methods features(images, train) and classify(features, train)"),
  ],
)
def test_another_class_of_the_module_is_refused(module, cls, words):
  assert words in refusal(with_module("main", module(GOOD, cls)))


def test_a_script_that_ends_the_process_is_refused(module):
  words = "cannot be imported (SystemExit: 2)"
  assert words in refusal(with_module("main", module("raise SystemExit(2)")))


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"module": "no_such_package_here:Own"}, "cannot be imported"),
    ({"module": "examples.own_network"}, "is no name of a class; accepted: package.module:Class"),
    ({"arguments": "{width: 1}"}, "which is no JSON"),
    ({"arguments": '{"a":' * 100_000}, "which is no JSON"),
    ({"arguments": "[1]"}, "accepted: a JSON object"),
    ({"arguments": '{"num_classes": 3}'}, "which the configuration sets"),
    ({"arguments": '{"wide": 3}'}, "accepted: model.main.arguments for its fields depth, dropout"),
    ({"module": "", "arguments": "{}"}, "without model.main.module"),
    ({"name": "resnet20"}, "model.main.name is 'resnet20' beside model.main.module"),
    ({"split_after": 1}, "model.main.split_after is 1 beside"),
    ({"dropout": 0.1}, "model.main.dropout is 0.1 beside"),
  ],
)
def test_fields_beside_a_module(fields, words):
  config = with_module(arguments=ARGUMENTS)
  config.model.main.update(fields)
  assert words in refusal(config)


def test_a_structure_beside_a_module_is_refused():
  config = tiny_config()
  config.model.main.module = EXAMPLE
  assert "model.main.structure is set beside model.main.module" in refusal(config)


def test_modules_are_known_by_the_digest_of_their_file(module, tmp_path):
  name = module(GOOD)
  config = resolve(with_module("cloud", name))
  before = own_modules(config)
  assert before.keys() == {"cloud"}
  assert before["cloud"]["module"] == name
  path = tmp_path / f"{name.partition(':')[0]}.py"
  path.write_text(path.read_text() + "# changed\n")
  assert own_modules(config)["cloud"]["sha256"] != before["cloud"]["sha256"]
  assert own_modules(resolve(tiny_config())) == {}


def test_the_current_directory_is_on_the_import_path(tmp_path, monkeypatch):
  (tmp_path / "only_here_own_network.py").write_text(GOOD)
  monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])
  monkeypatch.chdir(tmp_path)
  build(resolve(with_module(module="only_here_own_network:Own")))
