"""What is to be reached, as ratios on the same card in one call, and what was."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.accelerator.tables import cell

Row = Mapping[str, Any]
Rows = Sequence[Row]


class Target(NamedTuple):
  """text: on the page. limit: of the ratio. at_least: or else at most.

  reached: the ratio from the rows of all parts, the worst of several; None if it was not measured.
  """

  text: str
  limit: float
  at_least: bool
  reached: Callable[[Rows], float | None]


def targets(rows: Rows) -> list[Row]:
  """Every target with what the rows say of it."""
  return [_row(target, target.reached(rows)) for target in TARGETS]


def _row(target: Target, reached: float | None) -> Row:
  at = f"at {'least' if target.at_least else 'most'} {target.limit:g}"
  if reached is None:
    return {"target": target.text, "at": at, "reached": "not measured"}
  met = reached >= target.limit if target.at_least else reached <= target.limit
  return {"target": target.text, "at": at, "reached": f"{cell(reached)}{'' if met else ', missed'}"}


def _ours_over(implementation: str) -> Callable[[Rows], float | None]:
  """ResNet-18's images/s in bfloat16 over another implementation's."""

  def reached(rows: Rows) -> float | None:
    found = {
      row["implementation"]: row["images_per_second"]
      for row in rows
      if row["kind"] == "step" and (row["network"], row["dtype"]) == ("ResNet-18", "bfloat16")
    }
    if {"ours", implementation} - found.keys():
      return None
    return found["ours"] / found[implementation]

  return reached


def _worst(worst: Callable[[list[float]], float], kind: str, key: str, **where: Any) -> Any:
  """The worst value of a key among the rows of a kind for which all of `where` holds."""

  def reached(rows: Rows) -> float | None:
    own = [row for row in rows if row["kind"] == kind]
    values = [
      float(row[key])
      for row in own
      if row.get(key) is not None and all(row.get(name) == v for name, v in where.items())
    ]
    return worst(values) if values else None

  return reached


TARGETS = (
  Target(
    "Parameters after 20 steps within their tolerance of CPU's",
    1,
    True,
    _worst(min, "steps", "within"),
  ),
  Target(
    "Killed and resumed with deterministic operations: bit for bit",
    1,
    True,
    _worst(min, "resume", "equal", operations="deterministic"),
  ),
  Target(
    "ResNet-18, bfloat16: images/s over the plain Flax step's",
    1.0,
    True,
    _ours_over("plain Flax step"),
  ),
  Target(
    "ResNet-18, bfloat16: images/s over compiled PyTorch's",
    0.9,
    True,
    _ours_over("PyTorch, compiled"),
  ),
  Target(
    "ResNet-32: the loop over bare steps",
    1.03,
    False,
    _worst(max, "loop", "loop_over_bare", network="ResNet-32"),
  ),
  Target(
    "ResNet-18: the edge stage over its parts",
    1.05,
    False,
    _worst(max, "edge", "step_over_parts", network="ResNet-18"),
  ),
  Target(
    "ResNet-32: the edge stage over its parts",
    1.05,
    False,
    _worst(max, "edge", "step_over_parts", network="ResNet-32"),
  ),
  Target(
    "16 trials of ResNet-20, vmapped: images/s over one after another",
    3,
    True,
    _worst(min, "grid", "over_one_after_another", network="resnet20", trials=16, batching="vmap"),
  ),
  Target(
    "Early exit in batches of 256: reached over allowed",
    0.8,
    True,
    _worst(min, "early_exit", "reached_over_allowed", batch=256),
  ),
  Target(
    "Sweep of 10,001 thresholds over 50,000 images [s]",
    0.02,
    False,
    _worst(max, "sweep", "seconds", images=50_000, chunk=8),
  ),
)
