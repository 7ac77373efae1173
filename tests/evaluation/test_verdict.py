"""Which system to deploy, from what each achieves on validation."""

import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.evaluation.verdict import Candidate, verdict
from meanet_jax.selection.alternatives import Outcome

BUDGET = Constraints(max_offload=0.2)


def found(**systems: tuple[float, float, float]) -> dict[str, Candidate]:
  """Systems that keep the constraints: accuracy, share sent, energy; 1 point is noise."""
  return {
    name: Candidate(Outcome(*values, 0.0, values[0], 0.01), None, f"max-offload {values[1]:g}")
    for name, values in systems.items()
  }


def test_the_cheapest_within_the_noise_of_the_most_accurate_is_deployed():
  systems = found(
    main_only=(0.94, 0.0, 1.0), main_cloud=(0.972, 0.08, 2.0), meanet=(0.98, 0.15, 3.0)
  )
  result = verdict(systems, BUDGET)
  assert (result.system, result.runner_up) == ("main_cloud", "meanet")
  assert result.sentence == (
    "deploy main_cloud, the cheapest within one standard error (1.0 points) of the most accurate "
    "(meanet, up to 98.0%): 97.2% accurate with 8.0% sent on validation; next is meanet, 98.0% "
    "accurate with 15.0% sent (+0.8 points)"
  )
  assert verdict(systems, BUDGET, "a pi").sentence.startswith("deploy main_cloud on a pi, the ch")
  assert result.to_json()["alternatives"]["main_only"] == {
    "accuracy": 0.94,
    "fraction_cloud": 0.0,
    "energy_mj": 1.0,
    "kept": True,
    "nearest": "max-offload 0",
  }


@pytest.mark.parametrize(
  ("systems", "constraints", "taken"),
  [
    ({"static": (0.98, 0.0, 2.0), "meanet": (0.98, 0.1, 1.0)}, BUDGET, "static"),
    ({"main_only": (0.975, 0.0, 1.0), "meanet": (0.98, 0.1, 2.0)}, BUDGET, "main_only"),
    ({"main_only": (0.96, 0.0, 1.0), "meanet": (0.98, 0.1, 2.0)}, BUDGET, "meanet"),
    ({"paper": (0.98, 0.1, 2.0), "meanet": (0.98, 0.1, 2.0)}, BUDGET, "meanet"),
    ({"paper": (0.98, 0.1, 1.9), "meanet": (0.98, 0.1, 2.0)}, BUDGET, "paper"),
    (
      {"cloud_only": (0.99, 1.0, 2.0), "meanet": (0.98, 0.1, 2.0)},
      Constraints(offload_penalty=0.005),
      "cloud_only",
    ),
    (
      {"main_cloud": (0.975, 0.2, 1.0), "meanet": (0.98, 0.2, 2.0)},
      Constraints(max_offload=0.2, spend_budget=True),
      "meanet",
    ),
    (
      {"main_only": (0.92, 0.0, 1.0), "meanet": (0.98, 0.1, 2.0)},
      Constraints(min_accuracy=0.9),
      "main_only",
    ),
  ],
)
def test_known_answers(systems, constraints, taken):
  result = verdict(found(**systems), constraints)
  assert result.system == taken
  assert result.sentence.startswith(f"deploy {taken}, ")


def test_a_system_that_breaks_the_constraints_is_not_deployed():
  systems = found(main_only=(0.9, 0.0, 1.0), cloud_only=(0.99, 1.0, 2.0))
  systems["cloud_only"] = systems["cloud_only"]._replace(unmet="no threshold keeps it")
  result = verdict(systems, BUDGET)
  assert result.sentence == (
    "deploy main_only, the only system that keeps the constraints: 90.0% accurate with 0.0% sent "
    "on validation"
  )
  assert result.runner_up is None
  systems["main_only"] = systems["main_only"]._replace(unmet="nor this")
  result = verdict(systems, BUDGET)
  assert (result.system, result.runner_up) == (None, None)
  assert verdict(systems, BUDGET, "a pi").sentence.startswith(f"no system keeps {BUDGET} on a pi; ")
  assert result.sentence == (
    "no system keeps max_offload 0.2; the nearest of each: main_only: max-offload 0; cloud_only: "
    "max-offload 1"
  )
