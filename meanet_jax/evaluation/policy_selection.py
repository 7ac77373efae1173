"""Which policy `meanet` is: the configured one, a preset, or the best of a family."""

import dataclasses
from typing import Any, NamedTuple

from meanet_jax.config.constraints import Constraints
from meanet_jax.errors import UserError
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.fitting import fit_policy, selection_part
from meanet_jax.evaluation.records import LabelledLogits, make_records
from meanet_jax.evaluation.study import fit_temperatures
from meanet_jax.evaluation.systems import Curve, System, outcome, selected_figures, sweep_system
from meanet_jax.log import logger
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import Policy, configured_policy
from meanet_jax.selection.alternatives import best
from meanet_jax.selection.family import fitted_from


class SelectedPolicy(NamedTuple):
  """MEANet's policy with what was fitted for it.

  name: `configured`, of a preset, or of a member of the family. temperatures: of every exit,
  whether or not the policy divides by them. num_examples: how many images selected. members: of
  `auto`, by name, what each member achieves on them.
  """

  name: str
  system: System
  temperatures: Temperatures
  num_examples: int
  members: dict[str, dict[str, Any]]

  def to_json(self) -> dict[str, Any]:
    """The entry `policies` of summary.json."""
    return {"selected": self.name, "num_examples": self.num_examples, "members": self.members}


def select_policy(
  context: Context, validation: LabelledLogits, constraints: Constraints
) -> SelectedPolicy:
  """The policy that `routing.policy` names, fitted on the validation images that select.

  With `auto`, the best of `FAMILY` under the constraints, of those members that so many images can
  fit. Images that carry a guarantee take part neither in that choice nor in a fit, so a threshold
  selected on them has its guarantee whatever policy was taken; here a confidence is left out of
  account.

  Args:
    context: of a run.
    validation: its validation split.
    constraints: under which thresholds are selected.

  Raises:
    UserError: no image to select on, or constraints that cannot be tested.
  """
  config, hard_classes = context.config, context.hard_classes
  images = selection_part(config, validation)
  name, count = config.routing.policy, len(images.labels)
  if name == "auto" and not count:
    raise UserError(
      "no validation image is left to select a policy on; accepted: more validation images, a "
      "smaller evaluation.calibration_fraction, or a routing.policy other than 'auto'"
    )
  temperatures = fit_temperatures(*images, hard_classes)

  def fitted(policy: Policy, calibrated: bool) -> System:
    applied = temperatures if calibrated else Temperatures()
    return System(policy, fit_policy(policy, images, hard_classes, applied, config.routing))

  if name != "auto":
    system = fitted(configured_policy(config.routing), config.routing.calibrate)
    return SelectedPolicy(name, system, temperatures, count, {})
  family = fitted_from(count)
  systems = [fitted(member.policy, member.calibrated) for member in family]
  limits = dataclasses.replace(constraints, confidence=None)
  tried = [_try(system, context, images, limits) for system in systems]
  outcomes = [outcome(curve) for curve, _ in tried]
  taken = best(outcomes, limits)
  logger.info(
    f"policy {family[taken].name}: the best of {len(family)} on {count} validation images, "
    f"accuracy {100 * outcomes[taken].accuracy:.2f}%"
  )
  members = {
    member.name: {
      "accuracy": entry["accuracy"],
      "fraction_cloud": entry["fraction"]["cloud"],
      "macs_edge": entry["macs_edge"],
      "unmet": curve.unmet,
    }
    for member, (curve, entry) in zip(family, tried, strict=True)
  }
  return SelectedPolicy(family[taken].name, systems[taken], temperatures, count, members)


def _try(
  system: System, context: Context, images: LabelledLogits, limits: Constraints
) -> tuple[Curve, dict[str, Any]]:
  """A system's curve on the images that its threshold is selected on, and its figures there."""
  fitted = system.fitted
  records = make_records(*images, context.hard_classes, *fitted.of_logits)
  curve = sweep_system(system, context, records, records, limits)
  return curve, selected_figures(context.on(images.labels), curve)
