"""The roofline (Williams, Waterman and Patterson 2009): what arithmetic and memory allow."""

import dataclasses

from meanet_jax.planning.chips import Chip


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Images per second of a slice that its arithmetic alone, or its memory alone, would allow."""

  compute: float
  memory: float

  @property
  def images_per_second(self) -> float:
    """The lower of the two: an upper bound, since nothing waits and nothing crosses chips in it."""
    return min(self.compute, self.memory)

  @property
  def bound(self) -> str:
    """Which of the two is the lower."""
    return "compute" if self.compute < self.memory else "memory"


def roofline(chip: Chip, chips: int, flops_per_image: float, bytes_per_image: float) -> Roofline:
  """The two limits of a slice whose chips share the images evenly.

  Args:
    chip: of the slice.
    chips: their number.
    flops_per_image: floating-point operations, of which a multiply-accumulate is two.
    bytes_per_image: read from and written to a chip's memory.
  """
  return Roofline(
    compute=chips * chip.flops_per_second / flops_per_image,
    memory=chips * chip.bytes_per_second / bytes_per_image,
  )
