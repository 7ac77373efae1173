"""Times an export on the device itself, block by block: what device.json holds of it."""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from meanet_jax.annotations import UInt8
from meanet_jax.cost.device import Block, Timing
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.encoding import Encoding, check_channels, encode
from meanet_jax.edge.link.replies import Reply
from meanet_jax.edge.manifest import EDGE, read_manifest
from meanet_jax.edge.power import Meter
from meanet_jax.edge.results import Result
from meanet_jax.edge.stream import Asks, Stream
from meanet_jax.errors import UserError

WARM_UP = 20  # images before anything is timed
FEWEST = 100  # images, for a 0.95 quantile that rests on five of them
_SECONDS_PER_IMAGE = 30.0  # that a cloud may take


class Energy(NamedTuple):
  """How energy is measured.

  meter: None where the device has none. seconds: of each loop. idle_mw: the idle device's power.
  """

  meter: Meter | None
  seconds: float
  idle_mw: float | None

  def per_call_mj(self, call: Callable[[], object]) -> float | None:
    """Millijoules above idle of one call, from calls for `seconds`; None where nothing is read."""
    if self.meter is None or self.idle_mw is None:
      return None
    calls = 0

    def work() -> None:
      nonlocal calls
      begun = time.perf_counter()
      while not calls or time.perf_counter() - begun < self.seconds:
        call()
        calls += 1

    spent = self.meter.spent(work)
    if spent is None:
      return None
    # mW x s is mJ. What is less than idle is noise.
    return max(0.0, spent.energy_mj - self.idle_mw * spent.seconds) / calls


class EdgeBlocks(NamedTuple):
  """main, extension: of the classifier with its rules. parts: each signature by itself."""

  main: Block
  extension: Block
  parts: dict[str, Timing]


class LinkBlocks(NamedTuple):
  """upload, idle: as in `cost/device.py`. failed: images of which no answer came."""

  upload: Block
  idle: Block
  failed: int


def idle_energy(meter: Meter | None, seconds: float) -> Energy:
  """Measures the idle device for some seconds."""
  if meter is None:
    return Energy(None, seconds, None)
  spent = meter.spent(lambda: time.sleep(seconds))
  return Energy(meter, seconds, None if spent is None else spent.energy_mj / spent.seconds)


def open_classifier(directory: str, num_threads: int) -> EdgeClassifier:
  """The export, under rules that never run the extension; `answer_alone` runs it.

  Raises:
    UserError: no export, or one whose signatures take several images at once.
  """
  manifest = read_manifest(directory)
  if manifest.batch_size != 1:
    raise UserError(
      f"{directory} takes {manifest.batch_size} images at once, which no image of a stream has to "
      "itself; expected an export with --batch 1"
    )
  point = manifest.operating_point
  main_alone = dataclasses.replace(point.policy, hard_rule="never")
  return EdgeClassifier(
    directory,
    operating_point=dataclasses.replace(point, policy=main_alone),
    num_threads=num_threads,
  )


def measure_edge(
  classifier: EdgeClassifier, images: UInt8[np.ndarray, "n h w c"], energy: Energy
) -> EdgeBlocks:
  """Times main and extension for each image in turn, as a stream runs them.

  Args:
    classifier: of `open_classifier`.
    images: of which the first `WARM_UP` are run before as well.
    energy: how it is measured.
  """
  main_signature, extension_signature = classifier.signatures
  results: list[Result] = []
  stream = Stream(classifier, results.append)

  def main(row: int) -> None:
    stream.run([Item(row, images[row])])

  for row in range(min(WARM_UP, len(images))):
    main(row)
    (decision,) = classifier.decide(images[row : row + 1])
    classifier.answer_alone(decision._replace(skipped=True))
  results.clear()
  extensions, signatures = [], {"main_signature": [], "extension_signature": []}
  for row in range(len(images)):
    main(row)
    (decision,) = classifier.decide(images[row : row + 1])
    decided = time.perf_counter()
    classifier.answer_alone(decision._replace(skipped=True))
    extensions.append(time.perf_counter() - decided)
  mains = [result.seconds for result in results]
  for batch, _ in classifier.batches(images):
    begun = time.perf_counter()
    outputs = main_signature(image=batch)
    ended = time.perf_counter()
    extension_signature(image=batch, features=outputs["features"])
    signatures["main_signature"].append(ended - begun)
    signatures["extension_signature"].append(time.perf_counter() - ended)
  (decision,) = classifier.decide(images[:1])
  skipped = decision._replace(skipped=True)
  macs = classifier.manifest.files[EDGE].signatures
  return EdgeBlocks(
    _block(mains, energy.per_call_mj(lambda: main(0)), macs["main"].macs),
    _block(
      extensions,
      energy.per_call_mj(lambda: classifier.answer_alone(skipped)),
      macs["extension"].macs,
    ),
    {name: timing(seconds) for name, seconds in signatures.items()},
  )


def measure_encodings(images: UInt8[np.ndarray, "n h w c"]) -> dict[str, Timing]:
  """Times of making what is sent, for every encoding that these images can have here."""
  found = {}
  for encoding in (Encoding("raw"), Encoding("png"), Encoding("jpeg")):
    try:
      check_channels(encoding, images.shape[3])
      encode(encoding, images[0])
    except UserError:
      continue  # no Pillow, or channels that the format has not
    found[f"encode_{encoding.kind}"] = timing(times(lambda i, e=encoding: encode(e, i), images))
  return found


def measure_link(
  offloader: Asks,
  classifier: EdgeClassifier,
  images: UInt8[np.ndarray, "n h w c"],
  energy: Energy,
) -> LinkBlocks:
  """Round trips of images, one at a time, each after the edge has classified its image.

  That is what a stream does, and it takes longer than one round trip after the other: the link's
  thread and code have been idle meanwhile. Energy of upload and idle is measured together, and is
  upload's.

  Raises:
    UserError: more than one image in twenty has no answer.
  """
  uploads, waits, sent_bytes, failed = [], [], [], 0

  def ask(image: np.ndarray) -> tuple[Reply, float]:
    (decision,) = classifier.decide(image[None])
    classifier.answer_alone(decision._replace(skipped=True))
    return round_trip(image)

  def round_trip(image: np.ndarray) -> tuple[Reply, float]:
    begun = time.perf_counter()
    offloader.submit(0, 0, image, _SECONDS_PER_IMAGE)
    found = offloader.finished(wait=True)
    assert found is not None  # it is under way
    return found[1], time.perf_counter() - begun

  for image in images[:WARM_UP]:
    ask(image)
  for image in images:
    reply, seconds = ask(image)
    if reply.answer is None:
      failed += 1
      continue
    uploads.append(reply.encode_seconds)
    waits.append(seconds - reply.encode_seconds)
    sent_bytes.append(reply.bytes_up)
  if 20 * failed > len(images):
    raise UserError(
      f"the cloud did not answer {failed} of {len(images)} images; expected at most one in twenty"
    )
  spent = energy.per_call_mj(lambda: round_trip(images[0]))
  upload = _block(uploads, spent)
  return LinkBlocks(
    dataclasses.replace(upload, bytes_per_image=float(np.mean(sent_bytes))),
    _block(waits, None if spent is None else 0.0),
    failed,
  )


def times(call: Callable[[np.ndarray], object], images: np.ndarray) -> list[float]:
  """Seconds of a call for each image, after some that are not counted."""
  for image in images[:WARM_UP]:
    call(image)
  seconds = []
  for image in images:
    begun = time.perf_counter()
    call(image)
    seconds.append(time.perf_counter() - begun)
  return seconds


def timing(seconds: list[float]) -> Timing:
  """Mean and 0.95 quantile, in milliseconds: the smallest time that 0.95 of the images keep."""
  milliseconds = 1e3 * np.asarray(seconds)
  p95 = np.quantile(milliseconds, 0.95, method="inverted_cdf")
  return Timing(float(milliseconds.mean()), float(p95))


def _block(seconds: list[float], mean_mj: float | None, macs: int | None = None) -> Block:
  found = timing(seconds)
  return Block(found.mean_ms, found.p95_ms, mean_mj, macs=macs)
