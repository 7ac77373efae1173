"""What turns counts on a split into figures of operating points."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import Config
from meanet_jax.cost.device import DeviceProfile
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares, upload_bytes
from meanet_jax.cost.latency import Number
from meanet_jax.routing.counts import Counts
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import Policy
from meanet_jax.routing.rules import EXIT_NAMES


@dataclasses.dataclass(frozen=True)
class Context:
  """What turns counts on a split into figures.

  num_images, num_hard_images: of the split, by true class. profile: of the device, whose constants
  `config.cost` already has (`device_constants`); None for the cost model alone.
  """

  config: Config
  macs: BlockMacs
  hard_classes: HardClasses
  num_images: int
  num_hard_images: int
  profile: DeviceProfile | None = None

  @classmethod
  def of(
    cls,
    config: Config,
    macs: BlockMacs,
    hard_classes: HardClasses,
    labels: Int[np.ndarray, " n"],
    profile: DeviceProfile | None = None,
  ) -> "Context":
    """The context of the split that has these labels."""
    return cls(config, macs, hard_classes, 0, 0, profile).on(labels)

  @property
  def cost_model(self) -> CostModel:
    """Of one image."""
    cost = self.config.cost
    return CostModel(cost, self.macs, upload_bytes(cost, self.config.dataset), self.profile)

  def on(self, labels: Int[np.ndarray, " n"]) -> "Context":
    """The same for another split."""
    hard = int(self.hard_classes.mask[labels].sum())
    return dataclasses.replace(self, num_images=len(labels), num_hard_images=hard)

  def costing(self, macs: BlockMacs | None) -> "Context":
    """The same with what blocks cost; None leaves that as it is.

    A measured main block is taken to need time and energy in proportion to its MACs.
    """
    if macs is None:
      return self
    profile = self.profile
    if profile is not None and profile.main is not None:
      main = profile.main.times(macs.main / self.macs.main)
      profile = dataclasses.replace(profile, main=main)
    return dataclasses.replace(self, macs=macs, profile=profile)


def figures(context: Context, policy: Policy, counts: Counts) -> dict[str, Any]:
  """The figures of operating points: numbers where `counts` are scalars, arrays where arrays.

  Without hard classes there are no easy ones either, and the accuracies of both are NaN.
  Whether energy and latency are measured or estimated is `cost_basis(context.profile)`.
  """
  n, hard = context.num_images, context.num_hard_images
  easy = n - hard if len(context.hard_classes) else 0
  shares = {name: np.asarray(getattr(counts, name)) / n for name in EXIT_NAMES}
  cost = context.cost_model.of(cost_shares(context, policy, counts))
  return {
    "accuracy": counts.correct / n,
    "hard_accuracy": _ratio(counts.hard_correct, hard),
    "easy_accuracy": _ratio(counts.correct - counts.hard_correct, easy),
    "fraction": shares,
    **dataclasses.asdict(cost),
  }


def cost_shares(context: Context, policy: Policy, counts: Counts) -> Shares:
  """The shares of images that run each block, which costs are made of."""
  n = context.num_images
  return Shares(
    # With `always` the raw image goes up before anything is computed.
    main=0.0 if policy.offload == "always" else 1.0,
    extension=np.asarray(counts.ran_extension) / n,
    sent=np.asarray(counts.cloud) / n,
    extension_and_sent=np.asarray(counts.extension_and_cloud) / n,
  )


def _ratio(part: Number, whole: int) -> Any:
  # A split without a single hard (or easy) image has no such accuracy.
  return part / whole if whole else np.full(np.shape(part), np.nan)


def plain(value: Any) -> Any:
  """Nested figures of one operating point as JSON has them: floats, and None for NaN."""
  if isinstance(value, dict):
    return {name: plain(item) for name, item in value.items()}
  number = float(value)
  return None if np.isnan(number) else number
