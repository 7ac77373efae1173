"""What happened on a stream beside what edge.json led to expect: which assumption failed.

Shares are compared by the interval of the difference of two independent shares (Newcombe 1998,
"Interval estimation for the difference between independent proportions", method 10), so that the
noise of the evaluation's images counts as well as the stream's; a difference whose interval leaves
out 0 is a failed assumption. A time fails when its mean is more than 10% above the expected one
beyond three standard errors.
"""

import dataclasses
import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Literal, NamedTuple

from meanet_jax.cost.energy import Shares
from meanet_jax.edge.expected import Evaluated
from meanet_jax.edge.manifest import Manifest
from meanet_jax.edge.times import Times

CONFIDENCE = 0.99  # of the intervals of differences: few false alarms among several comparisons
SLOWER = 1.1
FEWEST = 20  # images of which a share or a mean is compared

Assumption = Literal["images", "accuracy", "device", "network"]


class Check(NamedTuple):
  """One comparison. failed: None where the stream was too short to say. text: for a person."""

  assumption: Assumption
  failed: bool | None
  expected: float
  measured: float
  text: str


@dataclasses.dataclass(frozen=True)
class Happened:
  """What is compared of a stream.

  images: answered. complex: those that the exported thresholds send; None where online adaptation
  moved them. labelled, correct: images with a label, and those answered so; both 0 where thresholds
  moved, or an image that is the cloud's was answered by the edge, which no evaluation foresees.
  main: times of images that only the main block ran for; both: of those that the extension ran for
  as well. encode, cloud: of images that were sent. bytes_per_sent: mean.
  """

  images: int
  complex: int | None
  labelled: int
  correct: int
  main: Times
  both: Times
  encode: Times
  cloud: Times
  bytes_per_sent: float


def compare(happened: Happened, evaluated: Evaluated, manifest: Manifest) -> list[Check]:
  """The comparisons for which the stream has something.

  Args:
    happened: on the stream.
    evaluated: what was expected.
    manifest: whose costs are expected.
  """
  return [*_shares(happened, evaluated), *_times(happened, manifest)]


def difference(
  count: int, images: int, share: float, of: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
  """The interval of the difference of two shares, the second subtracted.

  Args:
    count, images: the first share's.
    share, of: the second share, and of how many images it is.
    confidence: of the interval.
  """
  first = count / images
  low, high = _wilson(first, images, confidence)
  other_low, other_high = _wilson(share, of, confidence)
  below = math.hypot(first - low, other_high - share)
  above = math.hypot(high - first, share - other_low)
  return first - share - below, first - share + above


def _wilson(share: float, images: int, confidence: float) -> tuple[float, float]:
  z = NormalDist().inv_cdf((1 + confidence) / 2)
  centre = share + z * z / (2 * images)
  half = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
  scale = 1 + z * z / images
  return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


class _Share(NamedTuple):
  """A share of the stream's images, and that of the images of validation."""

  number: int
  images: int
  expected: float
  of: int

  @property
  def measured(self) -> float:
    return self.number / self.images


def _shares(happened: Happened, evaluated: Evaluated) -> Iterator[Check]:
  expected = evaluated.expected["validation"]
  if happened.complex is not None and happened.images:
    sent = _Share(
      happened.complex, happened.images, expected.fraction["cloud"], expected.num_images
    )
    found = (
      f"{100 * sent.measured:.1f}% of {sent.images} images are for the cloud, "
      f"{100 * sent.expected:.1f}% on validation"
    )
    word = "harder" if sent.measured > sent.expected else "easier"
    yield _share("images", f"images are {word} than validation's", sent, found)
  if happened.labelled:
    right = _Share(happened.correct, happened.labelled, expected.accuracy, expected.num_images)
    found = (
      f"accuracy {100 * right.measured:.1f}% of {right.images}, "
      f"{100 * right.expected:.1f}% on validation"
    )
    word = "more" if right.measured > right.expected else "fewer"
    yield _share("accuracy", f"{word} answers are right than on validation", right, found)


def _share(assumption: Assumption, failure: str, share: _Share, found: str) -> Check:
  failed = None
  if share.images >= FEWEST:  # on fewer the interval is too narrow
    low, high = difference(*share)
    failed = low > 0 or high < 0
    if failed:
      found = (
        f"{failure}: {found}, a difference of {100 * low:+.1f} to {100 * high:+.1f} points at "
        f"{100 * CONFIDENCE:g}%"
      )
  return Check(assumption, failed, share.expected, share.measured, found)


def _times(happened: Happened, manifest: Manifest) -> Iterator[Check]:
  expected = expected_times(manifest, happened.bytes_per_sent)
  source = "the cost model" if manifest.profile is None else f"the profile {manifest.profile.name}"
  if manifest.batch_size == 1:  # else a time is that of the other images of the batch as well
    device = f"this device is slower than {source}"
    yield from _time("device", device, "main block", happened.main, expected["main"])
    yield from _time("device", device, "both blocks", happened.both, expected["both"])
  if manifest.profile is not None and manifest.profile.upload is not None:
    device = f"this device is slower than {source}"
    yield from _time("device", device, "encoding", happened.encode, expected["encode"])
  network = f"the network or the cloud is slower than {source}"
  yield from _time("network", network, "round trip", happened.cloud, expected["cloud"])


def _time(
  assumption: Assumption, failure: str, what: str, times: Times, expected: float
) -> Iterator[Check]:
  if times.mean is None:
    return
  measured = 1e3 * times.mean
  found = f"{what} {measured:.3g} ms, expected {expected:.3g} ms"
  failed, error = None, times.standard_error
  if error is not None and times.count >= FEWEST:
    failed = measured - 3e3 * error > SLOWER * expected
  if failed:
    found = f"{failure}: {found}, over {times.count} images"
  yield Check(assumption, failed, expected, measured, found)


def expected_times(manifest: Manifest, image_bytes: float) -> dict[str, float]:
  """Mean milliseconds of an image's parts: `main`, `both` blocks, `encode`, `cloud`.

  What no profile measured is the cost model's, which has no time for encoding.
  """
  costs = dataclasses.replace(manifest.cost_model, image_bytes=image_bytes)
  profile = manifest.profile

  def latency(shares: Shares) -> float:
    return float(costs.latency_ms(shares))

  main, both = latency(Shares(1.0, 0.0, 0.0, 0.0)), latency(Shares(1.0, 1.0, 0.0, 0.0))
  encode = profile.upload.mean_ms if profile is not None and profile.upload is not None else 0.0
  sent = latency(Shares(1.0, 0.0, 1.0, 0.0)) - main
  return {"main": main, "both": both, "encode": encode, "cloud": sent - encode}
