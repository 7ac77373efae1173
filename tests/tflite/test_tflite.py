"""The converted file: what it computes, and what it is made of, read from the flatbuffer."""

import collections
import dataclasses
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.edge.manifest import read_manifest
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import by_collection
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.tflite.convert import convert
from meanet_jax.tflite.flatbuffer import read_signatures
from meanet_jax.tflite.signatures import cloud_signature, edge_signatures
from meanet_jax.tflite.source import Source
from tests.exports import ROOT, configured, runner
from tests.forked_commands import run_command

CONFIGURATIONS = (
  "digits",
  "fashion_mnist",
  "cifar100_resnet32_a",
  "cifar100_resnet32_b",
  "imagenet_resnet18_b",
  "imagenet_mobilenet_v2_b",
)
SCORES = {"prediction", "max_prob", "entropy", "margin"}


@pytest.fixture
def standard_promotion():
  with jax.numpy_dtype_promotion("standard"):  # Flax's average pool divides by an integer
    yield


def random_images(source: Source, count: int, seed: int = 0) -> np.ndarray:
  shape = (count, *source.config.dataset.image_shape)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def plain_scores(logits: np.ndarray, classes: list[int]) -> dict[str, list[float]]:
  """A slow reference in Python's own floats."""
  found = collections.defaultdict(list)
  for row in logits.astype(float).tolist():
    shift = max(row)
    exps = [math.exp(value - shift) for value in row]
    probabilities = sorted((value / sum(exps) for value in exps), reverse=True)
    found["prediction"].append(classes[row.index(max(row))])
    found["max_prob"].append(probabilities[0])
    found["margin"].append(probabilities[0] - probabilities[1])
    found["entropy"].append(-sum(p * math.log(p) for p in probabilities if p > 0))
  return found


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.full) if name.startswith("imagenet") else name
    for name in CONFIGURATIONS
  ],
)
def test_each_kind_of_network_converts_to_builtin_operations_with_folded_norms(name):
  source = configured(name)
  edge = convert(edge_signatures(source, 1, "uint8"))
  image = random_images(source, 1)
  contents = read_signatures(edge)
  assert set(contents) == {"main", "extension"}
  assert set(contents["main"].inputs) == {"image"}
  assert set(contents["extension"].inputs) == {"image", "features"}
  assert set(contents["main"].outputs) == SCORES | {"logits", "features", "hard_probability"}
  assert set(contents["extension"].outputs) == SCORES | {"logits"}
  blocks = {"main": ("main",), "extension": ("adaptive", "extension")}
  for signature, found in contents.items():
    operations = found.operations
    assert not [o for o in operations if o.startswith(("CUSTOM", "STABLEHLO", "FLEX"))]
    norms, kernels, sums = layers(source, blocks[signature])
    assert norms == kernels  # every convolution has a norm that could have stayed behind
    assert operations["CONV_2D"] + operations["DEPTHWISE_CONV_2D"] == kernels
    # What is left of them: the image's normalisation, softmax, entropy and margin.
    assert operations["MUL"] == 2
    assert operations["SUB"] == 4
    assert operations["ADD"] == sums
    assert not {"RSQRT", "SQRT", "SQUARED_DIFFERENCE", "BATCH_MATMUL"} & set(operations)
    assert not {"RELU", "RELU6", "MAXIMUM", "MINIMUM"} & set(operations)  # fused

  main = runner(edge, "main")(image=image)
  extension = runner(edge, "extension")(image=image, features=main["features"])
  mean, std = (
    np.float32(value) for value in (source.config.dataset.mean, source.config.dataset.std)
  )
  expected = jax.jit(source.model.apply, static_argnums=2)(
    by_collection(source.variables),
    jnp.asarray((image / np.float32(255) - mean) / std),
    Exits.MAIN | Exits.EXTENSION,
  )
  for ours, theirs in ((main["logits"], expected.main), (extension["logits"], expected.extension)):
    assert np.abs(ours - theirs).max() <= 1e-4 * np.ptp(np.asarray(theirs))


def layers(source: Source, blocks: tuple[str, ...]) -> tuple[int, int, int]:
  """Batch norms, convolutions and residual additions of some blocks, from their parameters."""
  norms = kernels = shortcuts = 0
  block_names = set()
  for block in blocks:
    flat = jax.tree_util.tree_flatten_with_path(source.variables[block]["params"])[0]
    for path, leaf in flat:
      keys = [key.key for key in path]
      norms += keys[-1] == "scale"
      kernels += keys[-1] == "kernel" and leaf.ndim == 4
      block_names |= {(block, key) for key in keys if "_block" in key}
  if source.config.model.main.name != "mobilenet_v2":
    return norms, kernels, len(block_names)  # every residual block adds its shortcut
  # An inverted residual adds where input and output have one shape.
  for block, name in block_names:
    trunk = source.variables[block]["params"]
    params = trunk.get("trunk", trunk)[name]
    first = params["expand"]["conv"]["kernel"] if "expand" in params else None
    depthwise = params["depthwise"]["conv"]["kernel"].shape[-1]
    inputs = first.shape[2] if first is not None else depthwise
    outputs = params["project"]["conv"]["kernel"].shape[-1]
    shortcuts += inputs == outputs and stride(source, block, name) == 1
  return norms, kernels, shortcuts


def stride(source: Source, block: str, name: str) -> int:
  network = getattr(source.model, block)
  structure = getattr(network, "structure")  # noqa: B009 - of a network or of a trunk
  stage, index = name.removeprefix("stage").split("_block")
  return structure.strides[int(stage) - 1] if index == "1" else 1


def test_scores_of_a_trained_network_are_those_of_its_logits(source, exported):
  edge = (exported / "edge.tflite").read_bytes()
  cloud = runner((exported / "cloud.tflite").read_bytes(), "cloud")
  main, extension = runner(edge, "main"), runner(edge, "extension")
  classes, hard_classes = list(range(10)), source.operating_point.hard_classes.numbers
  for image in source.dataset.test.images[:40, None]:
    of_main = main(image=image)
    of_extension = extension(image=image, features=of_main["features"])
    for outputs, known in (
      (of_main, classes),
      (of_extension, hard_classes.tolist()),
      (cloud(image=image), classes),
    ):
      expected = plain_scores(outputs["logits"], known)
      assert outputs["prediction"].tolist() == expected["prediction"]
      for name in ("max_prob", "entropy", "margin"):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-4, atol=1e-6)
    exps = np.exp(of_main["logits"][0].astype(float))
    mass = exps[hard_classes].sum() / exps.sum()
    np.testing.assert_allclose(of_main["hard_probability"], [mass], rtol=1e-5)
  # The extension answers in original class numbers, none of which is its own index everywhere.
  assert hard_classes.tolist() != list(range(len(hard_classes)))


def test_temperatures_divide_the_logits_that_scores_are_of(source):
  point = dataclasses.replace(source.operating_point, temperatures=Temperatures(2.5, 0.5, 3.0))
  warm = dataclasses.replace(source, operating_point=point)
  edge = convert(edge_signatures(warm, 1, "uint8"))
  cloud = convert([cloud_signature(warm, 1, "uint8")])
  operations = read_signatures(cloud)["cloud"].operations
  assert not [o for o in operations if o.startswith(("CUSTOM", "STABLEHLO", "FLEX"))]
  plain = convert(edge_signatures(source, 1, "uint8"))
  image = source.dataset.test.images[:1]
  main = runner(edge, "main")(image=image)
  extension = runner(edge, "extension")(image=image, features=main["features"])
  untouched = runner(plain, "main")(image=image)
  np.testing.assert_array_equal(main["logits"], untouched["logits"])
  assert main["entropy"] > untouched["entropy"]
  exps = np.exp(main["logits"][0].astype(float) / 2.5)
  np.testing.assert_allclose(
    main["hard_probability"], [exps[point.hard_classes.numbers].sum() / exps.sum()], rtol=1e-5
  )
  for outputs, temperature in (
    (main, 2.5),
    (extension, 0.5),
    (runner(cloud, "cloud")(image=image), 3.0),
  ):
    expected = plain_scores(outputs["logits"] / temperature, list(range(10)))
    for name in ("max_prob", "entropy", "margin"):
      np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("batch_size", "dtype"), [(1, "float32"), (3, "uint8"), (3, "float32")])
def test_batches_and_float_images_give_the_same(source, exported, batch_size, dtype):
  model = convert(edge_signatures(source, batch_size, dtype))
  images = source.dataset.test.images[:batch_size]
  main = runner(model, "main")(image=images.astype(dtype))
  extension = runner(model, "extension")(image=images.astype(dtype), features=main["features"])
  edge = (exported / "edge.tflite").read_bytes()
  for row, image in enumerate(images[:, None]):
    one = runner(edge, "main")(image=image)
    two = runner(edge, "extension")(image=image, features=one["features"])
    for batch, single in ((main, one), (extension, two)):
      for name, value in single.items():
        np.testing.assert_allclose(batch[name][row], value[0], rtol=1e-4, atol=1e-5)


def test_the_same_checkpoint_exports_to_the_same_bytes(evaluated_run, exported, tmp_path):
  """As in a process whose hashes, and so orders of sets, differ."""
  flags = ("--workdir", evaluated_run, "--out", tmp_path, "--cloud")
  assert run_command("-m", "meanet_jax", "export", *flags).returncode == 0
  files = sorted(path.name for path in exported.iterdir())
  assert sorted(path.name for path in tmp_path.iterdir()) == files
  for file in files:
    assert (tmp_path / file).read_bytes() == (exported / file).read_bytes()


@pytest.mark.full
def test_processes_export_to_the_same_bytes(evaluated_run, tmp_path):
  """Real ones, quantised too."""
  written = []
  for name, quantize in (("one", "none"), ("two", "none"), ("three", "int8"), ("four", "int8")):
    command = ["-m", "meanet_jax", "export", "--workdir", str(evaluated_run), "--cloud"]
    out = tmp_path / name
    subprocess.run(
      [sys.executable, *command, "--out", str(out), "--quantize", quantize],
      cwd=ROOT,
      check=True,
      capture_output=True,
    )
    files = ("edge.tflite", "policy.tflite", "cloud.tflite", "edge.json", "edge_test.json")
    written.append({file: (out / file).read_bytes() for file in files})
    assert sorted(path.name for path in out.iterdir()) == sorted(files)
  assert written[0] == written[1]
  assert written[2] == written[3]
  assert written[0]["edge.tflite"] != written[2]["edge.tflite"]
  for data in written[0].values():
    assert str(ROOT).encode() not in data
    assert str(tmp_path).encode() not in data


def test_what_is_counted_per_signature(source, exported):
  manifest = read_manifest(exported)
  edge, cloud = manifest.files["edge.tflite"], manifest.files["cloud.tflite"]
  assert edge.bytes == (exported / "edge.tflite").stat().st_size
  for file, blocks in (
    (edge.signatures["main"], ("main",)),
    (edge.signatures["extension"], ("adaptive", "extension")),
    (cloud.signatures["cloud"], ("cloud",)),
  ):
    leaves = [
      leaf.size for block in blocks for leaf in jax.tree.leaves(source.variables[block]["params"])
    ]
    norms = sum(
      leaf.size
      for block in blocks
      for path, leaf in jax.tree_util.tree_flatten_with_path(source.variables[block]["params"])[0]
      if path[-1].key == "scale"
    )
    # Folded weights, and a few hundred bytes of shapes, paddings and class numbers.
    assert 0 <= file.bytes - 4 * (sum(leaves) - norms) < 1000
