"""What selection images fit beside thresholds: temperatures, weights, the gate."""

from typing import Any, NamedTuple

import numpy as np

from meanet_jax.config.schema import Config, RoutingConfig
from meanet_jax.data.calibration_part import run_calibration_part
from meanet_jax.evaluation.records import LabelledLogits, cooled, make_records
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.learned import GainWeights
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import Policy, compared_thresholds, fixed_thresholds
from meanet_jax.selection.fusion import fit_fusion
from meanet_jax.selection.gate import fit_run_threshold
from meanet_jax.selection.learned import fit_gain


class Fitted(NamedTuple):
  """What holds for every operating point of a policy.

  temperatures: what logits are divided by. fusion: None for a policy that fuses nothing. run: the
  `run` threshold; NaN for a policy without a gate. gain: None unless the policy learns.
  """

  temperatures: Temperatures = Temperatures()
  fusion: FusionWeights | None = None
  run: Any = np.float32(np.nan)
  gain: GainWeights | None = None

  @property
  def of_logits(self) -> tuple[Temperatures, FusionWeights | None, GainWeights | None]:
    """What makes records from logits: the last arguments of `make_records`."""
    return self.temperatures, self.fusion, self.gain


def selection_part(config: Config, validation: LabelledLogits) -> LabelledLogits:
  """The validation images that select: those of a run that carry no guarantee."""
  return validation.of(~run_calibration_part(config, len(validation.labels)))


def fits_beside_thresholds(policy: Policy) -> bool:
  """Whether images other than those that carry a guarantee have to fit something first."""
  return policy.fuses or policy.learns or "run" in compared_thresholds(policy)


def fit_policy(
  policy: Policy,
  images: LabelledLogits,
  hard_classes: HardClasses,
  temperatures: Temperatures,
  routing: RoutingConfig,
) -> Fitted:
  """Fits what a policy needs beside thresholds.

  Args:
    policy: the rules.
    images: that select.
    hard_classes: the extension's.
    temperatures: applied to the logits first.
    routing: its `run_share` and `hard_threshold`.

  Raises:
    UserError: too few images for a policy that learns.
  """
  fusion, run = None, np.float32(np.nan)
  if policy.fuses:
    main, extension, cloud = map(cooled, images.outputs, temperatures)
    fusion = fit_fusion((main, extension, cloud), images.labels, hard_classes)
  if "run" in compared_thresholds(policy):
    records = make_records(*images, hard_classes, temperatures)
    run = fit_run_threshold(policy, records, hard_classes.mask, routing.run_share)
  gain = None
  if policy.learns:
    records = make_records(*images, hard_classes, temperatures, fusion)
    fixed = fixed_thresholds(routing.hard_threshold, run)
    gain = fit_gain(policy, records, hard_classes.mask, fixed)
  return Fitted(temperatures, fusion, run, gain)
