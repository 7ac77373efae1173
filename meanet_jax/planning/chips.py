"""TPU chips: what one can compute, hold and move, by Google Cloud's public documentation."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
  """One chip.

  name: as a topology's name begins, `v5e` in `v5e:4x8`.
  flops_per_second: peak of its matrix units in bfloat16. Float32 convolutions and products have the
    same peak at JAX's default precision: their operands are rounded to bfloat16 and their sums kept
    in float32 (docs.cloud.google.com/tpu/docs/bfloat16).
  memory_bytes: capacity of its high-bandwidth memory.
  bytes_per_second: bandwidth of that memory.
  largest_slice: chips in the largest slice of one job.
  source: the page that says so.
  """

  name: str
  flops_per_second: float
  memory_bytes: int
  bytes_per_second: float
  largest_slice: int
  source: str


# By the kind that JAX gives a device. A page's GB of memory are taken as GiB, as the page of v4
# writes them. For v6e the page has said 1640 and, later, 1600 GB/s: the lower counts.
CHIPS = {
  "TPU v4": Chip("v4", 275e12, 32 * 2**30, 1200e9, 4096, "docs.cloud.google.com/tpu/docs/v4"),
  "TPU v5 lite": Chip("v5e", 197e12, 16 * 2**30, 819e9, 256, "docs.cloud.google.com/tpu/docs/v5e"),
  "TPU v5": Chip("v5p", 459e12, 95 * 2**30, 2765e9, 6144, "docs.cloud.google.com/tpu/docs/v5p"),
  "TPU v6 lite": Chip("v6e", 918e12, 32 * 2**30, 1600e9, 256, "docs.cloud.google.com/tpu/docs/v6e"),
}
