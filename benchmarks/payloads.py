"""What an offload could send: bytes and accuracy of every payload; writes benchmarks/payloads.md.

Command: python -m benchmarks.payloads [--workdir runs/digits] [--workdir runs/fashion --data-dir D]
"""

import argparse
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image
from sklearn.neural_network import MLPClassifier

from benchmarks.digits_run import DIGITS, run_directory
from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.cost.energy import upload_ms, upload_power_mw
from meanet_jax.data.augment import normalise
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import ArraySplit, Split
from meanet_jax.edge.link.encoding import encode, parse_encoding
from meanet_jax.evaluation.records import records_at
from meanet_jax.files import write_text
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import by_collection
from meanet_jax.routing.rules import CLOUD, route
from meanet_jax.tflite.source import Source, from_run
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate

ENCODINGS = ("raw", "png", "jpeg:95", "jpeg:90", "jpeg:75", "jpeg:50", "jpeg:25")
TITLES = (
  "payload",
  "bytes of an image that is sent",
  "largest",
  "bytes, all images",
  "upload [ms]",
  "upload [µJ]",
  "accuracy in the cloud, images that are sent [%]",
  "all images [%]",
  "the complete system [%]",
)


class Payload(NamedTuple):
  """bytes: int [n], per test image. prediction: int [n], what the cloud answers from it."""

  name: str
  bytes: np.ndarray
  prediction: np.ndarray


class Run(NamedTuple):
  """A run on its test split. sent: bool [n], which images its policy offloads. edge: int [n], what
  the edge answers itself.
  """

  source: Source
  images: np.ndarray
  labels: np.ndarray
  sent: np.ndarray
  edge: np.ndarray


def decoded(payload: bytes, kind: str, shape: tuple[int, ...]) -> np.ndarray:
  """The pixels that the cloud sees."""
  if kind == "raw":
    return np.frombuffer(payload, np.uint8).reshape(shape)
  return np.asarray(Image.open(io.BytesIO(payload)), np.uint8).reshape(shape)


def read_run(source: Source) -> Run:
  """The test split, and which of its images are sent at the operating point of the evaluation."""
  config, test = source.config, source.dataset.test
  forward = ForwardPass(source.model, Exits.ALL, config.dataset, config.evaluation.batch_size)
  logits = forward(replicate(source.variables), test)
  point = source.operating_point
  records, hard = records_at(point, logits, test.labels), point.hard_classes.mask
  taken = route(point.policy, point.thresholds, records, hard)
  never = point.thresholds._replace(main=np.float32(np.inf), extension=np.float32(np.inf))
  edge = route(point.policy, never, records, hard).prediction
  return Run(source, test.images_at(range(len(test))), test.labels, taken.exit == CLOUD, edge)


def image_payloads(run: Run) -> Iterator[Payload]:
  """Images, answered by the cloud model."""
  source = run.source
  config = source.config
  forward = ForwardPass(source.model, Exits.CLOUD, config.dataset, config.evaluation.batch_size)
  variables = replicate(source.variables)
  for text in ENCODINGS:
    encoding = parse_encoding(text)
    files = [encode(encoding, image) for image in run.images]
    images = np.stack([decoded(f, encoding.kind, run.images.shape[1:]) for f in files])
    logits = forward(variables, ArraySplit(images, run.labels)).cloud
    yield Payload(text, np.array([len(file) for file in files]), logits.argmax(axis=-1))


def main_features(source: Source, split: Split) -> np.ndarray:
  """The main block's features [n, h, w, d], float32, as they would be sent."""
  dataset = source.config.dataset
  variables = by_collection({"main": source.variables["main"]})

  @jax.jit
  def run(images: Any) -> Any:
    images = normalise(images, dataset.mean, dataset.std)
    return source.model.apply(variables, images, method="main_features")

  size = source.config.evaluation.batch_size
  return np.concatenate([np.asarray(run(batch))[:real] for batch, real in split.batches(size)])


def rounded_to_int8(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """256 values evenly from an image's smallest to its largest: numbers uint8, and what they mean.

  Two float32 travel beside them.
  """
  axes = tuple(range(1, features.ndim))
  low = features.min(axis=axes, keepdims=True)
  scale = np.maximum((features.max(axis=axes, keepdims=True) - low) / 255, 1e-12)
  numbers = np.rint((features - low) / scale).astype(np.uint8)
  return numbers, (numbers * scale + low).astype(np.float32)


def feature_payloads(run: Run, epochs: int) -> Iterator[Payload]:
  """Main's features, answered by a head that was trained on them for this comparison."""
  train, test = run.source.dataset.train, run.source.dataset.test
  on_train, features = (main_features(run.source, split) for split in (train, test))
  scale = on_train.std()
  head = MLPClassifier((512, 256), max_iter=1, warm_start=True, random_state=0, batch_size=128)
  flat = (on_train / scale).reshape(len(on_train), -1)
  rng = np.random.default_rng(0)
  for _ in range(epochs):
    order = rng.permutation(len(flat))
    head.partial_fit(flat[order], train.labels[order], classes=np.unique(train.labels))
  halves = features.astype(np.float16)
  numbers, meaning = rounded_to_int8(features)
  for name, sent, seen, beside in (
    ("float16", halves, halves.astype(np.float32), 0),
    ("int8", numbers, meaning, 8),
  ):
    prediction = head.predict((seen / scale).reshape(len(seen), -1))
    plain = np.full(len(sent), sent[0].nbytes + beside)
    deflated = np.array([len(zlib.compress(one.tobytes(), 9)) + beside for one in sent])
    yield Payload(f"features, {name}", plain, prediction)
    yield Payload(f"features, {name}, deflated", deflated, prediction)


def row(run: Run, payload: Payload) -> str:
  """A line of the table."""
  cost, sent = run.source.config.cost, run.sent
  right = payload.prediction == run.labels
  system = np.where(sent, right, run.edge == run.labels)
  mean = float(payload.bytes[sent].mean())
  milliseconds = upload_ms(cost, mean)
  cells = [
    payload.name,
    f"{mean:.1f}",
    f"{payload.bytes[sent].max()}",
    f"{payload.bytes.mean():.1f}",
    f"{milliseconds:.3f}",
    f"{upload_power_mw(cost) * milliseconds:.0f}",
    f"{100 * right[sent].mean():.2f}",
    f"{100 * right.mean():.2f}",
    f"{100 * system.mean():.2f}",
  ]
  return f"| {' | '.join(cells)} |"


def section(source: Source, head_epochs: int) -> Iterator[str]:
  """The table of a run."""
  run = read_run(source)
  shape = "x".join(map(str, source.config.dataset.image_shape))
  yield f"## {source.config.dataset.name}"
  yield ""
  yield (
    f"{len(run.labels):,} test images of {shape}, of which {int(run.sent.sum()):,} "
    f"({100 * run.sent.mean():.1f}%) are sent at the operating point that the evaluation chose. Of "
    f"those the edge itself gets {100 * (run.edge == run.labels)[run.sent].mean():.2f}% right."
  )
  yield ""
  yield f"| {' | '.join(TITLES)} |"
  yield "|" + "---|" * len(TITLES)
  for payload in (*image_payloads(run), *feature_payloads(run, head_epochs)):
    yield row(run, payload)
  yield ""


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--data-dir", help="where prepared data sets lie")
  add_path(parser, "--workdir", action="append", help="evaluated runs; by default runs/digits")
  add_integer(parser, "--head-epochs", Range(1), default=15, help="of the head on main's features")


def run(given: argparse.Namespace) -> None:
  """Measures every run and writes the page."""
  lines = [
    "# Payloads",
    "",
    "Made by `python -m benchmarks.payloads`. Bytes are those of the payload alone, without the "
    "protocol around it; time and energy of the upload are the cost model's, for the mean image "
    "that is sent. PNG and JPEG are Pillow's with its default settings. Images are answered by the "
    "run's cloud model, which was trained on undamaged pixels. Features are those of the main "
    "block, answered by a multilayer perceptron (512 and 256 hidden units, scikit-learn) that was "
    "trained on float32 features of the training split for "
    f"{given.head_epochs} epochs for this page alone; int8 takes 256 values evenly over each "
    "image's own range, and 8 bytes for that range. Deflated: zlib at level 9. Which images are "
    "sent is the same in every line.",
    "",
  ]
  for workdir in given.workdir or [DIGITS]:
    source = from_run(run_directory(workdir), ReadOptions(given.data_dir))
    for line in section(source, given.head_epochs):
      print(line, flush=True)
      lines.append(line)
  lines += measured_on()
  write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
