"""From what is exported to the files of a directory."""

import dataclasses
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from meanet_jax.annotations import Bool, Int
from meanet_jax.cost.device import check_export, other_export
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import (
  CLOUD,
  EDGE,
  MANIFEST,
  POLICY,
  File,
  ImageDtype,
  Manifest,
  Quantize,
  Signature,
  file_entry,
)
from meanet_jax.edge.test_vectors import TEST_VECTORS, make_test_vectors
from meanet_jax.errors import UnmetConstraintsError, UserError, nearest
from meanet_jax.files import write_bytes, write_json, writing
from meanet_jax.images.preprocessing import WHOLE
from meanet_jax.log import logger
from meanet_jax.models.costs import block_macs
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.runs.lock import held
from meanet_jax.tflite.convert import convert
from meanet_jax.tflite.flatbuffer import read_signatures
from meanet_jax.tflite.policy import policy_signatures
from meanet_jax.tflite.quantize import cloud_samples, edge_samples, quantized
from meanet_jax.tflite.signatures import cloud_signature, edge_signatures
from meanet_jax.tflite.source import Source
from meanet_jax.tflite.versions import recorded_versions

# Training images that each block is calibrated on in int8, drawn from the split; and noise images
# for untrained networks, whose ranges mean nothing.
CALIBRATION_IMAGES, NOISE_IMAGES = 512, 8
# Test images, drawn from the split, among which one is looked for that takes each route.
ROUTE_IMAGES = 1024


@dataclasses.dataclass(frozen=True)
class Options:
  """quantize: see `quantize.py`. batch_size: images per call. image_dtype: `uint8` or `float32`,
  of pixels 0 .. 255. cloud: whether cloud.tflite is written too. allow_unmet: whether thresholds
  that break their constraints are exported.

  Raises:
    UserError: another word, or no image per call.
  """

  quantize: str = "none"
  batch_size: int = 1
  image_dtype: str = "uint8"
  cloud: bool = False
  allow_unmet: bool = False

  def __post_init__(self):
    for name, words in (("quantize", get_args(Quantize)), ("image_dtype", get_args(ImageDtype))):
      found = getattr(self, name)
      if found not in words:
        raise UserError(f"{name} is {found!r}; {nearest(str(found), words)}")
    if self.batch_size < 1:
      raise UserError(f"batch_size is {self.batch_size}; accepted: at least 1")


def export(source: Source, out: str | Path, options: Options) -> Manifest:
  """Writes the tflite files, edge.json, and last edge_test.json, each complete.

  An earlier export's edge.json and edge_test.json go first, so that a directory with edge.json has
  the files that it names, and so does a cloud.tflite that is not written again.

  Raises:
    UnmetConstraintsError: thresholds that break their constraints, which the options do not allow.
    UserError: a directory that cannot be written, or that another process is writing, or a device
      profile of another export.
  """
  if source.unmet is not None and not options.allow_unmet:
    raise UnmetConstraintsError(
      f"the thresholds do not meet their constraint: {source.unmet}; accepted: a run evaluated "
      "under constraints that can be met (meanet eval), or --allow-unmet to export it nevertheless"
    )
  if source.profile is not None:
    check_export(source.profile, source.networks, options.quantize)
  if source.deployed not in (None, "meanet"):
    logger.warning(
      f"the verdict of the evaluation is {source.deployed}, and this export is of meanet; "
      "docs/evaluation.md#the-verdict says what to do"
    )
  with held(Path(out), "--out"), writing(f"--out {out}"):
    return _export(source, Path(out), options)


def _export(source: Source, out: Path, options: Options) -> Manifest:
  models = convert_models(source, options)
  macs = block_macs(source.model, source.config.dataset.image_shape)
  counted = {"main": macs.main, "extension": macs.extension, "cloud": macs.cloud}
  files = {name: _entry(data, None if name == POLICY else counted) for name, data in models.items()}
  manifest = make_manifest(source, options, files, int(macs.cloud))
  if source.profile is not None:
    other = other_export(source.profile, files[EDGE].sha256)
    if other is not None:  # perhaps of other temperatures alone; its MACs are the same
      logger.warning(other)
  for name in (MANIFEST, TEST_VECTORS, CLOUD):  # edge.json first, which names the others
    if name not in models:
      (out / name).unlink(missing_ok=True)
  for name, data in models.items():
    write_bytes(out / name, data)
  write_json(out / MANIFEST, manifest.to_json())
  write_json(out / TEST_VECTORS, _test_vectors(source, out))
  for name, file in files.items():
    networks = {key: entry.macs for key, entry in file.signatures.items() if entry.macs}
    parts = [f"{file.bytes:,} bytes", *(f"{key} {macs:,} MACs" for key, macs in networks.items())]
    logger.info(f"{out / name}: {', '.join(parts)}")
  return manifest


def convert_models(source: Source, options: Options) -> dict[str, bytes]:
  """The tflite files by name."""
  edge = convert(edge_signatures(source, options.batch_size, options.image_dtype))
  quantize = cast(Quantize, options.quantize)  # which `Options` has checked
  of_edge = of_cloud = None
  if quantize == "int8":
    images, of_extension = _calibration_images(source, options)
    of_edge = edge_samples(edge, images, of_extension)
    of_cloud = cloud_samples(images, options.batch_size) if options.cloud else None
  models = {
    EDGE: quantized(edge, quantize, of_edge),
    POLICY: convert(policy_signatures(source.operating_point)),
  }
  if options.cloud:
    cloud = convert([cloud_signature(source, options.batch_size, options.image_dtype)])
    models[CLOUD] = quantized(cloud, quantize, of_cloud)
  return models


def make_manifest(
  source: Source, options: Options, files: dict[str, File], cloud_macs: int
) -> Manifest:
  """The manifest of exported files."""
  height, width, channels = source.config.dataset.image_shape
  return Manifest(
    dataset=source.config.dataset,
    class_names=source.class_names,
    operating_point=source.operating_point,
    unmet_constraint=source.unmet,
    image_shape=(height, width, channels),
    image_dtype=options.image_dtype,
    # Untrained networks have no evaluation that a device could have to agree with.
    preprocessing=WHOLE if source.dataset is None else source.dataset.preprocessing,
    batch_size=options.batch_size,
    quantize=options.quantize,
    weights="untrained" if source.dataset is None else "trained",
    networks=source.networks,
    cost=source.config.cost,
    cloud_macs=cloud_macs,
    profile=source.profile,
    evaluation=source.evaluation,
    files=files,
    versions=recorded_versions(),
  )


def _entry(data: bytes, macs: dict[str, int] | None) -> File:
  signatures = {
    name: Signature(int(macs[name]) if macs else 0, contents.constant_bytes)
    for name, contents in read_signatures(data).items()
  }
  return file_entry(data, signatures)


def _test_vectors(source: Source, out: Path) -> dict[str, Any]:
  """What edge_test.json holds, from the files just written."""
  classifier = EdgeClassifier(out)
  if source.dataset is None:
    images = _noise_images(source).astype(np.uint8)
    return make_test_vectors(classifier, images, np.arange(len(images)), None)
  test = source.dataset.test
  numbers = _drawn(np.ones(len(test), bool), ROUTE_IMAGES)
  return make_test_vectors(classifier, test.images_at(numbers), numbers, test.labels[numbers])


def _noise_images(source: Source) -> np.ndarray:
  rng = np.random.default_rng(0)
  return rng.integers(256, size=(NOISE_IMAGES, *source.config.dataset.image_shape))


def _calibration_images(source: Source, options: Options) -> tuple[np.ndarray, np.ndarray]:
  """Images that main and the cloud are calibrated on, and those for the extension."""
  if source.dataset is None:
    images = _noise_images(source).astype(options.image_dtype)
    return images, images
  train = source.dataset.train

  def drawn(accepted: np.ndarray) -> np.ndarray:
    return train.images_at(_drawn(accepted, CALIBRATION_IMAGES)).astype(options.image_dtype)

  seen = _seen_by_extension(source.operating_point, train.labels)
  return drawn(np.ones(len(train), bool)), drawn(seen)


def _seen_by_extension(
  point: OperatingPoint, labels: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
  """The images that the extension learned from and is run for; all of them if that is none."""
  seen = point.hard_classes.known_map[labels] >= 0
  # This rule shows an extension of hard classes images of any class.
  if point.policy.hard_rule == "uncertain" or not seen.any():
    return np.ones(len(labels), bool)
  return seen


def _drawn(accepted: Bool[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
  """Numbers of accepted images, drawn at random, in increasing order.

  Not the first ones, which are of the first classes alone where a split is in the order of classes.
  """
  numbers = np.flatnonzero(accepted)
  count = min(most, len(numbers))
  return np.sort(np.random.default_rng(0).choice(numbers, count, replace=False))
