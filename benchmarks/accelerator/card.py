"""What a card can compute and move at most, by its maker's data sheets."""

from typing import NamedTuple


class Card(NamedTuple):
  """Peaks of one card, for dense matrices.

  bfloat16, tensorfloat32: flops per second of the tensor cores. float32: of the ordinary cores.
  bytes_per_second: of the card's memory. source: where they stand.
  """

  bfloat16: float
  tensorfloat32: float
  float32: float
  bytes_per_second: float
  source: str


# By the kind that JAX gives a device. The data sheets state the tensor cores' rates with sparsity,
# which is twice what dense matrices get: half of it stands here.
_HOPPER = {"bfloat16": 989e12, "tensorfloat32": 494.5e12, "float32": 67e12}
CARDS = {
  "NVIDIA H100 80GB HBM3": Card(
    **_HOPPER, bytes_per_second=3.35e12, source="NVIDIA H100 data sheet, H100 SXM"
  ),
  "NVIDIA H200": Card(
    **_HOPPER, bytes_per_second=4.8e12, source="NVIDIA H200 data sheet, H200 SXM"
  ),
}


def peak_flops(kind: str, dtype: str) -> float | None:
  """The peak for a compute dtype, or None for a card that is not in the table.

  Convolutions and products of float32 run in TF32 at JAX's default precision on these cards.
  """
  card = CARDS.get(kind)
  if card is None:
    return None
  return card.bfloat16 if dtype == "bfloat16" else card.tensorfloat32
