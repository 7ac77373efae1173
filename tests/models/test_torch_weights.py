"""Pretrained weights, against logits that torchvision computed in float64."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from meanet_jax.config.networks import NetworkConfig
from meanet_jax.config.parsing import resolve
from meanet_jax.cost.macs import count_macs
from meanet_jax.errors import UserError
from meanet_jax.models.meanet import BLOCKS, Network
from meanet_jax.models.torch_files import read_state_dict
from meanet_jax.models.torch_weights import load_pretrained, torch_name
from meanet_jax.models.zoo import STRUCTURES, build, network_structure
from meanet_jax.training.pretrained import initial_variables
from tests import golden
from tests.experiments import tiny_config
from tests.models.deep import tiered

DATA = Path(__file__).parent.parent / "data"
# Of these, tests/data/golden has torchvision's logits.
PUBLISHED = (
  "resnet18",
  "mobilenet_v2",
  "mobilenet_v3_small",
  "mobilenet_v3_large",
  "efficientnet_b0",
)


def abstract(network: Network, size: int):
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(lambda x: network.init(jax.random.key(0), x, False), image)


@pytest.mark.parametrize("name", tiered(PUBLISHED))
def test_torchvisions_logits(name):
  with np.load(DATA / "golden" / f"torchvision_{name}.npz") as file:
    spec, expected = str(file["spec"]), file["logits"]
  network = Network(STRUCTURES[name], 1000)
  state_dict = golden.state_dict(spec)
  variables = load_pretrained(state_dict, STRUCTURES[name], abstract(network, 224), name)
  images = jnp.asarray(golden.images(224).transpose(0, 2, 3, 1))
  logits = jax.jit(network.apply, static_argnums=2)(variables, images, False)
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * expected.std())


@pytest.mark.parametrize("name", tiered(STRUCTURES))
def test_every_variable_has_one_torchvision_name(name):
  network = Network(STRUCTURES[name], 10)
  paths = flatten_dict(abstract(network, 64))
  names = [torch_name(path, STRUCTURES[name]) for path in paths]
  assert len(set(names)) == len(names)
  # Published parameter counts with 1000 classes (torchvision's documentation) less the head.
  published = {
    "resnet34": 21797672,
    "resnet50": 25557032,
    "resnet101": 44549160,
    "mobilenet_v3_small": 2542856,
    "mobilenet_v3_large": 5483032,
    "efficientnet_b0": 5288548,
  }
  if name in published:
    count = sum(leaf.size for path, leaf in paths.items() if path[0] == "params")
    features = paths["params", "head", "dense", "kernel"].shape[0]
    assert count + 990 * (features + 1) == published[name]


def test_efficientnet_lite0_has_its_published_size():
  """4.7 million parameters and 407 million MACs, in the reference implementation's table."""
  network = Network(STRUCTURES["efficientnet_lite0"], 1000)
  variables = abstract(network, 224)
  count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  assert count == 4_652_008
  image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  macs = count_macs(lambda v, x: network.apply(v, x, False), variables, image)
  assert macs == pytest.approx(407e6, rel=0.06)


def tiny(path: str, **changes):
  config = tiny_config()
  config.model.main.update(pretrained=path, **changes)
  config.stages.main.epochs = 0
  return resolve(config)


def load(config):
  return initial_variables(config, build(config), BLOCKS)


def saved(tmp_path: Path, **changes: np.ndarray | None) -> str:
  """The tiny main block's weights with some entries replaced, or left out where None."""
  state = safetensors.numpy.load_file(original(tmp_path))
  state |= {name: array for name, array in changes.items() if array is not None}
  for name in [name for name, array in changes.items() if array is None]:
    del state[name]
  np.savez(tmp_path / "changed.npz", **state)
  return str(tmp_path / "changed.npz")


def original(tmp_path: Path) -> Path:
  path = tmp_path / "w.safetensors"
  safetensors.numpy.save_file(read_state_dict(str(DATA / "weights" / "zip.pth")), path)
  return path


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "float64.pth", "bfloat16.pth"])
def test_weights_arrive_in_flax_layout_and_conversion_is_said_once(said, file):
  main = load(tiny(str(DATA / "weights" / file)))["main"]
  kernel = main["params"]["trunk"]["stage1_block1"]["conv2"]["conv"]["kernel"]
  expected = golden.parameter("layer1.0.conv2.weight", (4, 4, 3, 3))
  assert kernel.dtype == np.float32
  tolerance = 0.01 if file == "bfloat16.pth" else 0
  np.testing.assert_allclose(kernel, expected.transpose(2, 3, 1, 0), rtol=tolerance)
  var = main["batch_stats"]["trunk"]["stem"]["norm"]["var"]
  np.testing.assert_allclose(var, golden.parameter("bn1.running_var", (4,)), rtol=tolerance)
  dense = main["params"]["head"]["dense"]["kernel"]
  np.testing.assert_allclose(dense, golden.parameter("fc.weight", (10, 4)).T, rtol=tolerance)
  precision = file.removesuffix(".pth")
  converts = precision in ("float64", "bfloat16")
  assert [s for s in said if f"converted from {precision} to float32" in s] == said
  assert len(said) == converts


def test_float16_is_converted_and_said_once(said, tmp_path):
  state = read_state_dict(str(DATA / "weights" / "zip.pth"))
  half = {
    name: array.astype(np.float16) for name, array in state.items() if array.dtype.kind == "f"
  }
  np.savez(tmp_path / "half.npz", **half)
  main = load(tiny(str(tmp_path / "half.npz")))["main"]
  assert said == [f"weights {tmp_path / 'half.npz'}: converted from float16 to float32"]
  dense = main["params"]["head"]["dense"]["kernel"]
  assert dense.dtype == np.float32
  np.testing.assert_array_equal(dense, half["fc.weight"].T.astype(np.float32))


@pytest.mark.parametrize(
  ("given", "network", "words"),
  [
    ("mobilenet_v2", "resnet18", "misses entry 'bn1.bias' and"),
    ("resnet18", "mobilenet_v2", "misses entry 'classifier.1.bias' and"),
    ("resnet18", "resnet34", "misses entry 'layer1.2.bn1.bias' and"),
    ("resnet18", "resnet50", "misses entry 'layer1.0.bn3.bias' and"),
  ],
)
def test_a_whole_state_dict_of_another_network_is_refused(given, network, words):
  with np.load(DATA / "golden" / f"torchvision_{given}.npz") as file:
    state_dict = golden.state_dict(str(file["spec"]))
  structure = STRUCTURES[network]
  with pytest.raises(UserError) as caught:
    load_pretrained(state_dict, structure, abstract(Network(structure, 1000), 64), "w.npz")
  assert f"weights 'w.npz': the file {words}" in str(caught.value)
  assert "\n" not in str(caught.value)


def test_other_blocks_are_those_of_a_run_without_pretrained_weights():
  fresh = load(resolve(tiny_config()))
  given = load(tiny(str(DATA / "weights" / "zip.pth")))
  for block in ("adaptive", "extension", "cloud"):
    for a, b in zip(*map(jax.tree.leaves, (fresh[block], given[block])), strict=True):
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"layer1.0.bn2.weight": None}, "misses entry 'layer1.0.bn2.weight'"),
    ({"fc.weight": None, "fc.bias": None}, "misses entry 'fc.bias' and 1 more"),
    ({"layer2.0.conv1.weight": np.ones(1, np.float32)}, "extra entry 'layer2.0.conv1.weight'"),
    ({"bn9.num_batches_tracked": np.ones((), np.int64)}, "extra entry 'bn9.num_batches_tracked'"),
    (
      {"conv1.weight": np.ones((4, 3, 3, 3), np.float32)},
      "has shape (4, 3, 3, 3); accepted: (4, 1",
    ),
    ({"bn1.bias": np.array([0, 1, np.nan, 0], np.float32)}, "'bn1.bias' has values that are not"),
    ({"bn1.bias": np.full(4, 1e300)}, "'bn1.bias' has values that are not"),
    ({"bn1.bias": np.zeros(4, np.int32)}, "'bn1.bias' is int32; accepted: floating point"),
    # As np.savez keeps bfloat16: bytes of which the type is lost.
    ({"bn1.bias": np.zeros(4, "V2")}, "'bn1.bias' is |V2; accepted: floating point"),
    ({"fc.weight": np.ones((12, 4), np.float32)}, "(12, 4); accepted: (10, 4) (or reset_head=true"),
  ],
)
def test_weights_of_another_network_are_refused(tmp_path, changes, words):
  with pytest.raises(UserError) as caught:
    load(tiny(saved(tmp_path, **changes)))
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)


def test_reset_head_takes_the_trunk_and_a_fresh_head(tmp_path):
  path = saved(
    tmp_path,
    **{"fc.weight": np.ones((12, 4), np.float32), "fc.bias": np.ones(12, np.float32)},
  )
  main = load(tiny(path, reset_head=True))["main"]
  fresh = load(resolve(tiny_config()))["main"]
  np.testing.assert_array_equal(
    main["params"]["head"]["dense"]["kernel"], fresh["params"]["head"]["dense"]["kernel"]
  )
  kernel = main["params"]["trunk"]["stem"]["conv"]["kernel"]
  expected = golden.parameter("conv1.weight", (4, 1, 3, 3)).transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(kernel, expected)


def test_a_flattening_head_keeps_pytorchs_meaning():
  """PyTorch flattens (channel, row, column), this package (row, column, channel)."""
  whole = NetworkConfig(name="resnet20", split_after=2, head_pool=3)
  structure = network_structure(whole, "model.main")
  network = Network(structure, 10, head_pool=3)
  with jax.numpy_dtype_promotion("standard"):  # Flax's avg_pool divides by an integer
    shapes = abstract(network, 32)
  rng = np.random.default_rng(0)
  state = {}
  for path, leaf in flatten_dict(shapes).items():
    shape = leaf.shape[::-1] if len(leaf.shape) == 2 else leaf.shape
    shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
    state[torch_name(path, structure)] = rng.uniform(0.5, 1, shape).astype(np.float32)
  variables = load_pretrained(state, structure, shapes, "w")
  features = rng.normal(size=(2, 16, 16, 32)).astype(np.float32)
  with jax.numpy_dtype_promotion("standard"):
    logits = network.apply(variables, jnp.asarray(features), False, method="classify")
  pooled = features[:, :15, :15].reshape(2, 5, 3, 5, 3, 32).mean(axis=(2, 4))
  flat = pooled.transpose(0, 3, 1, 2).reshape(2, -1)  # as torch.flatten of NCHW
  expected = flat @ state["fc.weight"].T + state["fc.bias"]
  np.testing.assert_allclose(logits, expected, rtol=1e-4)
