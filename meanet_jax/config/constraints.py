"""The constraints under which an operating point is selected: the one list of them.

They are the configuration's group `evaluation.constraints`, what `selection.select` selects under,
and where the flags of commands come from.
"""

import dataclasses
from typing import Annotated

from meanet_jax.config.ranges import Fraction, NonNegativeFloat, Range


@dataclasses.dataclass(frozen=True)
class Constraints:
  """What an operating point has to keep, as means over images; None constrains nothing."""

  max_offload: Fraction | None = None
  """Largest share of images sent to the cloud."""
  max_energy_mj: NonNegativeFloat | None = None
  """Largest mean energy on the edge per image, in millijoules."""
  max_latency_ms: NonNegativeFloat | None = None
  """Largest mean latency per image, in milliseconds."""
  min_accuracy: Fraction | None = None
  """Smallest accuracy; the fewest offloads that keep it are selected."""
  offload_penalty: NonNegativeFloat | None = None
  """Accuracy that one offloaded image has to be worth."""
  confidence: Annotated[float, Range(0.5, 0.999999)] | None = None
  """Probability with which limits hold on new images."""

  def to_json(self) -> dict[str, float | None]:
    """All fields by name."""
    return dataclasses.asdict(self)
