"""Quantised files: what shrank, what stayed float32, and what it costs in answers."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from meanet_jax.data.splits import ArraySplit
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import EDGE
from meanet_jax.errors import UserError
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.tflite import export as pipeline
from meanet_jax.tflite.export import Options, convert_models, export
from meanet_jax.tflite.flatbuffer import read_signatures
from meanet_jax.tflite.quantize import edge_samples, quantized
from tests.exports import configured

MODES = ("float16", "dynamic_int8", "int8")


@pytest.fixture(scope="module")
def models(source) -> dict[str, bytes]:
  return {mode: convert_models(source, Options(mode))[EDGE] for mode in ("none", *MODES)}


def tensor_types(model: bytes, signature: int) -> dict[str, set[str]]:
  """Types of constants of more than 100 bytes, and of the rest."""
  interpreter = Interpreter(model_content=model)
  found: dict[str, set[str]] = {"weights": set(), "others": set()}
  for detail in interpreter.get_tensor_details(signature):
    kind = "weights" if detail["name"] and detail["shape"].prod() > 500 else "others"
    found[kind].add(np.dtype(detail["dtype"]).name)
  return found


def test_weights_shrink_to_a_half_and_to_a_quarter(models):
  sizes = {
    mode: {name: contents.constant_bytes for name, contents in read_signatures(model).items()}
    for mode, model in models.items()
  }
  for signature, size in sizes["none"].items():
    assert sizes["float16"][signature] == pytest.approx(size / 2, rel=0.35)
    for mode in ("dynamic_int8", "int8"):
      assert sizes[mode][signature] < 0.5 * size
    assert sizes["dynamic_int8"][signature] < sizes["float16"][signature]


def test_whole_networks_run_in_8_bits_and_scores_do_not(models):
  for signature, contents in read_signatures(models["int8"]).items():
    operations = contents.operations
    assert operations["QUANTIZE"] == (1 if signature == "main" else 2)  # its inputs
    assert operations["DEQUANTIZE"] <= 2  # its features and pooled features
  dynamic = read_signatures(models["dynamic_int8"])
  plain = read_signatures(models["none"])
  for signature in plain:
    assert dynamic[signature].operations == plain[signature].operations
  for model in models.values():
    main = Interpreter(model_content=model).get_signature_runner("main")
    for name, detail in main.get_output_details().items():
      expected = np.int32 if name == "prediction" else np.float32
      assert detail["dtype"] == expected


@pytest.mark.parametrize(("mode", "agreement"), [("float16", 0.995), ("dynamic_int8", 0.97)])
def test_answers_stay(source, models, exported, tmp_path, mode, agreement):
  answers = {}
  for name in ("none", mode):
    directory = tmp_path / name
    export(source, directory, Options(name))
    assert (directory / EDGE).read_bytes() == models[name]
    answers[name] = EdgeClassifier(directory).classify(source.dataset.test.images)
  same = [a.prediction == b.prediction for a, b in zip(*answers.values(), strict=True)]
  assert np.mean(same) >= agreement


def test_int8_is_calibrated_on_training_images_of_the_classes_that_a_block_sees(
  source, models, monkeypatch
):
  seen = {}

  def watch(model: bytes, images: np.ndarray, of_extension: np.ndarray):
    seen["images"], seen["of_extension"] = images, of_extension
    return edge_samples(model, images, of_extension)

  monkeypatch.setattr(pipeline, "edge_samples", watch)
  assert convert_models(source, Options("int8"))[EDGE] == models["int8"]
  train = source.dataset.train
  classes = {image.tobytes(): int(label) for image, label in zip(train.images, train.labels)}
  count = min(pipeline.CALIBRATION_IMAGES, len(train))
  assert len({image.tobytes() for image in seen["images"]}) == count
  assert {classes[image.tobytes()] for image in seen["images"]} == set(range(10))
  hard = set(source.operating_point.hard_classes.numbers.tolist())
  assert {classes[image.tobytes()] for image in seen["of_extension"]} == hard

  samples = edge_samples(models["none"], seen["images"], seen["of_extension"])
  assert len(samples["main"]) == count
  assert len(samples["extension"]) == len(seen["of_extension"])
  main = Interpreter(model_content=models["none"]).get_signature_runner("main")
  first = samples["extension"][0]
  np.testing.assert_array_equal(first["features"], main(image=first["image"])["features"])


def test_images_are_drawn_from_all_classes_of_a_split_in_class_order(source):
  """As own images are; the extension has the images that it can see, were they the last ones."""
  dataset = source.dataset
  labels = np.repeat(np.arange(10, dtype=np.int32), 200)
  images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (2000, 8, 8, 1))
  in_order = dataclasses.replace(dataset, train=ArraySplit(images, labels))

  def classes(point: OperatingPoint) -> list[list[int]]:
    made = dataclasses.replace(source, dataset=in_order, operating_point=point)
    found = pipeline._calibration_images(made, Options("int8"))
    return [np.unique(part).tolist() for part in found]

  last, every = HardClasses(np.array([8, 9]), 10), list(range(10))
  own = dataclasses.replace(source.operating_point, policy=Policy(), hard_classes=last)
  assert classes(own) == [every, [8, 9]]
  any_class = dataclasses.replace(last, extension="all")
  assert classes(dataclasses.replace(own, hard_classes=any_class)) == [every, every]
  uncertain = OperatingPoint(
    Policy("uncertain"), Thresholds(0.5, 0.5, 0.5, 0.5), own.temperatures, last
  )
  assert classes(uncertain) == [every, every]
  few = pipeline._seen_by_extension(own, np.zeros(5, np.int32))
  assert few.tolist() == [True] * 5


def test_ranges_hold_every_value_seen_in_calibration(source, models):
  """A feature of the calibration images that saturated would come out smaller than it is."""
  images, _ = pipeline._calibration_images(source, Options("int8"))
  plain = Interpreter(model_content=models["none"]).get_signature_runner("main")
  small = Interpreter(model_content=models["int8"]).get_signature_runner("main")
  expected = np.concatenate([plain(image=image[None])["features"] for image in images])
  found = np.concatenate([small(image=image[None])["features"] for image in images])
  assert found.max() == pytest.approx(expected.max(), rel=0.1)
  assert np.abs(found - expected).max() < 0.15 * expected.max()


def test_a_batch_is_filled_up_with_images_not_with_black(source):
  model = convert_models(source, Options(batch_size=3))[EDGE]
  images = source.dataset.train.images[:5]
  samples = edge_samples(model, images, images[[0, 3]])
  batches = [sample["image"] for sample in samples["main"]]
  np.testing.assert_array_equal(np.concatenate(batches), images[[0, 1, 2, 3, 4, 0]])
  (batch,) = (sample["image"] for sample in samples["extension"])
  np.testing.assert_array_equal(batch, images[[0, 3, 0]])


def test_tensors_of_two_signatures_have_names_of_their_own(models):
  """The quantiser knows ranges by tensor name alone."""
  interpreter = Interpreter(model_content=models["none"])
  names = [{d["name"] for d in interpreter.get_tensor_details(index)} for index in (0, 1)]
  assert not (names[0] & names[1]) - {""}


def test_untrained_networks_quantise_for_size_and_speed(tmp_path):
  source = configured("digits")
  files = {
    mode: export(source, tmp_path / mode, Options(mode, cloud=True)).files
    for mode in ("none", "int8")
  }
  for name in ("edge.tflite", "cloud.tflite"):
    assert files["int8"][name].bytes < 0.5 * files["none"][name].bytes
  assert quantized(b"anything", "none") == b"anything"


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"quantize": "fp16"}, "quantize is 'fp16'; accepted: none, float16, dynamic_int8, int8"),
    ({"quantize": "int-8"}, "quantize is 'int-8'; did you mean 'int8'"),
    ({"image_dtype": "int8"}, "image_dtype is 'int8'; did you mean 'uint8'"),
    ({"batch_size": 0}, "batch_size is 0; accepted: at least 1"),
  ],
)
def test_options_that_are_none(fields, message):
  with pytest.raises(UserError) as caught:
    Options(**fields)
  assert message in str(caught.value)
