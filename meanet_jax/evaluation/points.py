"""Every operating point of a system as columns of a table."""

import numpy as np

from meanet_jax.evaluation.context import Context, figures
from meanet_jax.evaluation.systems import Curve


def point_columns(context: Context, curve: Curve) -> dict[str, np.ndarray]:
  """The columns of a system's operating points, each an array [t].

  chosen: whether it is the selected one. threshold_EXIT: in the criterion's unit. The others are
  the figures of summary.json, fractions as fraction_EXIT.

  Args:
    context: of the split that `curve` counts.
    curve: the system's.
  """
  values = figures(context.costing(curve.macs), curve.policy, curve.counts)
  shares = {f"fraction_{exit}": share for exit, share in values.pop("fraction").items()}
  thresholds = {f"threshold_{exit}": t for exit, t in curve.thresholds._asdict().items()}
  count = len(curve.counts.correct)
  numbers = {
    column: np.broadcast_to(value, count).astype(float)
    for column, value in (thresholds | values | shares).items()
  }
  return {"chosen": np.arange(count) == curve.selected} | numbers


def joined(first: str, tables: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """Tables of equal columns one after another, behind a column `first` of their names."""
  names = [np.full(len(table["chosen"]), name) for name, table in tables.items()]
  columns = next(iter(tables.values()))
  return {first: np.concatenate(names)} | {
    column: np.concatenate([table[column] for table in tables.values()]) for column in columns
  }
