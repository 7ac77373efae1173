"""The tables of the page: which columns the rows of a kind have."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

# By the kind of a row, from a column's heading to the key of the row.
TABLES = {
  "missing": {"module that is not installed": "module"},
  "failed": {"network": "network", "dtype": "dtype", "failed": "reason"},
  "steps": {
    "stage": "stage",
    "products": "precision",
    "apart, of the distance moved": "apart",
    "tolerance": "tolerance",
    "within": "within",
  },
  "logits": {
    "network": "network",
    "products": "precision",
    "largest difference, in standard deviations": "apart",
    "tolerance": "tolerance",
    "within": "within",
  },
  "resume": {
    "operations": "operations",
    "killed": "killed",
    "bit for bit": "equal",
    "arrays": "arrays",
    "parameters apart": "apart",
    "first difference": "first_difference",
  },
  "step": {
    "network": "network",
    "stage": "stage",
    "batch": "batch",
    "dtype": "dtype",
    "step": "implementation",
    "images/s": "images_per_second",
    "share of peak flops": "share_of_peak",
    "time / time of bytes moved": "times_memory",
    "compiled in [s]": "compile_seconds",
  },
  "loop": {
    "network": "network",
    "batch": "batch",
    "loop [s/step]": "loop_seconds",
    "bare [s/step]": "bare_seconds",
    "loop / bare": "loop_over_bare",
  },
  "stream": {
    "cores": "cores",
    "streamed images/s": "images_per_second",
    "Pillow decoding alone": "decoded_per_second",
    "bytes of a JPEG": "jpeg_bytes",
  },
  "demand": {
    "network": "network",
    "stage": "stage",
    "batch": "batch",
    "demand [images/s]": "images_per_second",
    "streamed / demand": "supply_over_demand",
  },
  "edge": {
    "network": "network",
    "batch": "batch",
    "dtype": "dtype",
    "step [s]": "step_seconds",
    "forward(main) [s]": "main_seconds",
    "own blocks [s]": "own_seconds",
    "step / parts": "step_over_parts",
  },
  "grid": {
    "network": "network",
    "trials": "trials",
    "how": "batching",
    "batch": "batch",
    "images/s in all": "images_per_second",
    "over one after another": "over_one_after_another",
    "compiled in [s]": "compile_seconds",
  },
  "sweep": {
    "images": "images",
    "classes": "classes",
    "thresholds": "thresholds",
    "at once": "chunk",
    "sweep [s]": "seconds",
  },
  "selection": {
    "images": "images",
    "classes": "classes",
    "policies": "policies",
    "selection [s]": "seconds",
  },
  "early_exit": {
    "network": "network",
    "images": "images",
    "batch": "batch",
    "share": "share",
    "every block [images/s]": "everything_per_second",
    "early exit [images/s]": "early_exit_per_second",
    "speed-up": "speed_up",
    "allowed": "allowed",
    "reached / allowed": "reached_over_allowed",
    "answers that differ": "differing",
  },
  "demo": {"training [s]": "seconds", "fastest step [ms]": "ms_per_step"},
}


def table(columns: Mapping[str, str], rows: Sequence[Row]) -> list[str]:
  """A Markdown table; a dash where a row has nothing for a column."""
  lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
  lines += [f"| {' | '.join(cell(row.get(key)) for key in columns.values())} |" for row in rows]
  return lines


def cell(value: Any) -> str:
  """A value as text."""
  if value is None:
    return "-"
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, Mapping):
    return ", ".join(f"{name} {cell(one)}" for name, one in value.items())
  if isinstance(value, float):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
  return str(value)
