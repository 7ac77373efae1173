"""How calibration images show that new images keep a limit, and how many images that takes."""

import abc
import dataclasses

import numpy as np
from jaxtyping import Float, Int

from meanet_jax.selection.risk_control import (
  binomial_p_value,
  bounded_p_value,
  images_needed,
  weighted_images_needed,
  weighted_p_value,
)


class Evidence(abc.ABC):
  """What is measured at every point, and the limit that it is tested against."""

  @abc.abstractmethod
  def p_values(self, num_images: int) -> Float[np.ndarray, " t"]:
    """Of "the limit is broken", at every point."""

  @abc.abstractmethod
  def too_few(self, num_images: int, delta: float) -> str | None:
    """Why no p-value can be as small as `delta`, and how many images are needed; None if one can.

    `{}` in it stands for the limit.

    Raises:
      ValueError: no number of images suffices.
    """


@dataclasses.dataclass(frozen=True)
class Share(Evidence):
  """The share of images that violate something is at most a limit: exact binomial."""

  violations: Float[np.ndarray, " t"]
  limit: float

  def p_values(self, num_images: int) -> Float[np.ndarray, " t"]:
    """See `Evidence`."""
    count = np.rint(self.violations * num_images).astype(int)
    return binomial_p_value(count, num_images, self.limit)

  def too_few(self, num_images: int, delta: float) -> str | None:
    """See `Evidence`."""
    return _lacking(num_images, images_needed(self.limit, delta))


@dataclasses.dataclass(frozen=True)
class Mean(Evidence):
  """The mean of something in [0, 1] is at most a limit: Hoeffding-Bentkus."""

  mean: Float[np.ndarray, " t"]
  limit: float

  def p_values(self, num_images: int) -> Float[np.ndarray, " t"]:
    """See `Evidence`."""
    return bounded_p_value(self.mean, num_images, self.limit)

  def too_few(self, num_images: int, delta: float) -> str | None:
    """See `Evidence`."""
    return _lacking(num_images, images_needed(self.limit, delta))


@dataclasses.dataclass(frozen=True)
class Balanced(Evidence):
  """The mean of the classes' recalls is at least a bound: Hoeffding, images weighted by class."""

  recall: Float[np.ndarray, " t"]
  class_images: Int[np.ndarray, " c"]
  bound: float

  def p_values(self, num_images: int) -> Float[np.ndarray, " t"]:  # noqa: ARG002
    """See `Evidence`."""
    return weighted_p_value(1 - self.recall, self.class_images, 1 - self.bound)

  def too_few(self, num_images: int, delta: float) -> str | None:
    """See `Evidence`."""
    classes = len(self.class_images)
    rarest = int(self.class_images.min())
    if rarest == 0:
      return (
        f"no image of class {int(np.argmin(self.class_images))}, without which nothing can show "
        "{}; accepted: images of every class"
      )
    needed = weighted_images_needed(1 - self.bound, delta)
    # What as many images of every class as of the rarest would be.
    if float(np.mean(1 / self.class_images)) / classes * needed <= 1:
      return None
    return (
      f"{num_images} images of {classes} classes, of the rarest {rarest}, too few to show {{}} "
      f"with this confidence; accepted: at least {-(-needed // classes)} of every class"
    )


@dataclasses.dataclass(frozen=True)
class WorstRecall(Evidence):
  """The recall of every class is at least a bound.

  An exact binomial test for each class at level delta; the limit is shown where all of them reject
  (an intersection-union test, Berger 1982), which needs no correction for their number.
  """

  class_correct: Int[np.ndarray, "t c"]
  class_images: Int[np.ndarray, " c"]
  bound: float

  def p_values(self, num_images: int) -> Float[np.ndarray, " t"]:  # noqa: ARG002
    """See `Evidence`."""
    wrong = self.class_images - self.class_correct
    return binomial_p_value(wrong, self.class_images, 1 - self.bound).max(axis=1)

  def too_few(self, num_images: int, delta: float) -> str | None:  # noqa: ARG002
    """See `Evidence`."""
    needed, rarest = images_needed(1 - self.bound, delta), int(self.class_images.min())
    if rarest >= needed:
      return None
    return (
      f"{rarest} images of class {int(np.argmin(self.class_images))}, too few to show {{}} with "
      f"this confidence; accepted: at least {needed} of every class"
    )


def _lacking(num_images: int, needed: int) -> str | None:
  if num_images >= needed:
    return None
  return (
    f"{num_images} images, too few to show {{}} with this confidence; accepted: at least {needed}"
  )
