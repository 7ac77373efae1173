"""Quantised files: what shrank, what stayed float32, and what it costs in answers."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import EDGE
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

  def watch(model: bytes, images: np.ndarray, hard: np.ndarray):
    seen["images"], seen["hard"] = images, hard
    return edge_samples(model, images, hard)

  monkeypatch.setattr(pipeline, "edge_samples", watch)
  assert convert_models(source, Options("int8"))[EDGE] == models["int8"]
  train = source.dataset.train
  count = len(seen["images"])
  assert count == min(pipeline.CALIBRATION_IMAGES, len(train))
  np.testing.assert_array_equal(seen["images"], train.images[:count])
  hard = source.operating_point.hard_classes.mask
  assert seen["hard"].tolist() == [bool(hard[label]) for label in train.labels[:count]]

  samples = edge_samples(models["none"], seen["images"], seen["hard"])
  assert len(samples["main"]) == count
  assert len(samples["extension"]) == int(seen["hard"].sum())
  main = Interpreter(model_content=models["none"]).get_signature_runner("main")
  first = samples["extension"][0]
  np.testing.assert_array_equal(first["features"], main(image=first["image"])["features"])


def test_ranges_hold_every_value_seen_in_calibration(source, models):
  """A feature of the calibration images that saturated would come out smaller than it is."""
  images = source.dataset.train.images[: pipeline.CALIBRATION_IMAGES]
  plain = Interpreter(model_content=models["none"]).get_signature_runner("main")
  small = Interpreter(model_content=models["int8"]).get_signature_runner("main")
  expected = np.concatenate([plain(image=image[None])["features"] for image in images])
  found = np.concatenate([small(image=image[None])["features"] for image in images])
  assert found.max() == pytest.approx(expected.max(), rel=0.1)
  assert np.abs(found - expected).max() < 0.15 * expected.max()


def test_a_batch_is_filled_up_with_images_not_with_black(source):
  model = convert_models(source, Options(batch_size=3))[EDGE]
  images = source.dataset.train.images[:5]
  samples = edge_samples(model, images, np.array([True, False, False, True, False]))
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
