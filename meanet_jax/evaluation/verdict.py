"""The verdict: which system to deploy under the constraints, and why."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from meanet_jax.config.constraints import Constraints
from meanet_jax.evaluation.systems import Curve, outcome
from meanet_jax.selection.alternatives import ROUNDING, Outcome, best
from meanet_jax.selection.limits import limits_of
from meanet_jax.selection.select import figures_at


class Candidate(NamedTuple):
  """A system that can be deployed.

  outcome: on the images that its operating point was selected on. unmet: why it breaks the
  constraints; None if it keeps them. nearest: what it has of the figures that are limited.
  """

  outcome: Outcome
  unmet: str | None
  nearest: str


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Which system to deploy.

  system: its name; None if no system keeps the constraints. sentence: which and why. runner_up: the
  name of the one to deploy if it were not there; None without one. candidates: by name.
  """

  system: str | None
  sentence: str
  runner_up: str | None
  candidates: Mapping[str, Candidate]

  def to_json(self) -> dict[str, Any]:
    """The entry `verdict` of summary.json; every figure in it is of validation."""
    return {
      "system": self.system,
      "sentence": self.sentence,
      "runner_up": self.runner_up,
      "alternatives": {
        name: {
          "accuracy": found.outcome.accuracy,
          "fraction_cloud": found.outcome.offload,
          "energy_mj": found.outcome.energy_mj,
          "kept": found.unmet is None,
          "nearest": found.nearest,
        }
        for name, found in self.candidates.items()
      },
    }


def candidates(curves: Mapping[str, Curve], constraints: Constraints) -> dict[str, Candidate]:
  """The systems that can be deployed: those that decide by thresholds, or without any.

  Not those that decide by what a device cannot know, or at random.
  """
  found = {}
  for name, curve in curves.items():
    if curve.selection is None or curve.on_validation is None:
      continue
    limits = limits_of(curve.on_validation, constraints)
    nearest = figures_at(limits, curve.selection.point)
    found[name] = Candidate(outcome(curve), curve.selection.unmet, nearest)
  return found


def verdict(
  found: Mapping[str, Candidate], constraints: Constraints, device: str | None = None
) -> Verdict:
  """Which of the systems to deploy: the one that `alternatives.best` takes on validation.

  Of systems that achieve the same `meanet` is taken, which can be exported. A confidence is that of
  each system by itself; of the best of several it is less.

  Args:
    found: by name.
    constraints: under which operating points were selected.
    device: the name of the profile that costs are of; None for the cost model alone.
  """
  on = "" if device is None else f" on {device}"
  keeping = {name: one.outcome for name, one in found.items() if one.unmet is None}
  if not keeping:
    nearest = "; ".join(f"{name}: {one.nearest}" for name, one in found.items())
    sentence = f"no system keeps {constraints}{on}; the nearest of each: {nearest}"
    return Verdict(None, sentence, None, found)
  # The first of equals is taken.
  order = sorted(keeping, key=lambda name: name != "meanet")
  taken = order[best([keeping[name] for name in order], constraints)]
  others = [name for name in order if keeping[name] != keeping[taken]]
  runner_up = others[best([keeping[name] for name in others], constraints)] if others else None
  why = _why(taken, keeping, constraints)
  sentence = f"deploy {taken}{on}, {why}: {_figures(keeping[taken])} on validation"
  if runner_up is not None:
    gap = 100 * (keeping[runner_up].accuracy - keeping[taken].accuracy)
    sentence += f"; next is {runner_up}, {_figures(keeping[runner_up])} ({gap:+.1f} points)"
  return Verdict(taken, sentence, runner_up, found)


def _why(taken: str, keeping: Mapping[str, Outcome], constraints: Constraints) -> str:
  if len(keeping) == 1:
    return "the only system that keeps the constraints"
  if constraints.offload_penalty is not None:
    return f"which has the most accuracy less {constraints.offload_penalty:g} for an image sent"
  if constraints.min_accuracy is not None:
    return "the cheapest that keeps the constraints"
  if constraints.spend_budget:
    return "the most accurate that keeps the constraints"
  top = max(keeping, key=lambda name: keeping[name].highest)
  highest, error = keeping[top].highest, keeping[top].standard_error
  if keeping[taken].accuracy >= highest - ROUNDING:
    return "the most accurate, and the cheapest of what is as accurate within one standard error"
  return (
    f"the cheapest within one standard error ({100 * error:.1f} points) of the most accurate "
    f"({top}, up to {100 * highest:.1f}%)"
  )


def _figures(achieved: Outcome) -> str:
  return f"{100 * achieved.accuracy:.1f}% accurate with {100 * achieved.offload:.1f}% sent"
