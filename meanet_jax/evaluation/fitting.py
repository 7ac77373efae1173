"""What selection images fit beside thresholds: temperatures, fusion weights, the gate."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import Config
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.evaluation.records import LabelledLogits, cooled, make_records
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import Policy, compared_thresholds
from meanet_jax.selection.fusion import fit_fusion
from meanet_jax.selection.gate import fit_run_threshold


class Fitted(NamedTuple):
  """What holds for every operating point of a policy.

  temperatures: what logits are divided by. fusion: None for a policy that fuses nothing. run: the
  `run` threshold; NaN for a policy without a gate.
  """

  temperatures: Temperatures = Temperatures()
  fusion: FusionWeights | None = None
  run: Any = np.float32(np.nan)


def selection_part(config: Config, validation: LabelledLogits) -> LabelledLogits:
  """The validation images that select: those of a run that carry no guarantee."""
  fraction, seed = config.evaluation.calibration_fraction, config.dataset.split_seed
  return validation.of(~calibration_part(len(validation.labels), fraction, seed))


def fits_beside_thresholds(policy: Policy) -> bool:
  """Whether images other than those that carry a guarantee have to fit something first."""
  return policy.fuses or "run" in compared_thresholds(policy)


def fit_policy(
  policy: Policy,
  outputs: Outputs,
  labels: Int[np.ndarray, " n"],
  hard_classes: HardClasses,
  temperatures: Temperatures,
  run_share: float,
) -> Fitted:
  """Fits what a policy needs beside thresholds.

  Args:
    policy: the rules.
    outputs, labels: of selection images.
    hard_classes: the extension's.
    temperatures: applied to the logits first.
    run_share: largest share of all images for which a gate lets the extension run.
  """
  fusion, run = None, np.float32(np.nan)
  if policy.fuses:
    main, extension, cloud = map(cooled, outputs, temperatures)
    fusion = fit_fusion((main, extension, cloud), labels, hard_classes)
  if "run" in compared_thresholds(policy):
    records = make_records(outputs, labels, hard_classes, temperatures)
    run = fit_run_threshold(policy, records, hard_classes.mask, run_share)
  return Fitted(temperatures, fusion, run)
