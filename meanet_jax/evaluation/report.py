"""What a person reads: the table in the terminal and report.html."""

import base64
import csv
import html
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from meanet_jax.evaluation.systems import Context, Curve, figures

COLUMNS = (
  ("accuracy", "accuracy [%]"),
  ("hard_accuracy", "hard [%]"),
  ("easy_accuracy", "easy [%]"),
  ("main", "main [%]"),
  ("extension", "ext. [%]"),
  ("cloud", "cloud [%]"),
  ("macs_edge", "edge kMAC"),
  ("bytes_up", "bytes up"),
  ("energy_mj", "energy [mJ]"),
  ("latency_ms", "latency [ms]"),
)


def rows(summary: dict[str, Any]) -> Iterator[list[str]]:
  """One row of texts per system, under `COLUMNS`, behind its name."""
  for name, entry in summary["systems"].items():
    values = entry | entry["fraction"]
    yield [name, *(_text(column, values[column]) for column, _ in COLUMNS)]


def terminal_table(summary: dict[str, Any]) -> Table:
  """The systems of a summary."""
  table = Table(title=f"{summary['dataset']}, {summary['num_examples']} {summary['split']} images")
  table.add_column("system")
  for _, title in COLUMNS:
    table.add_column(title, justify="right")
  for row in rows(summary):
    table.add_row(*row)
  return table


def operating_points_csv(systems: dict[str, Curve], context: Context) -> str:
  """Every operating point of every swept system, a line each."""
  text = io.StringIO()
  writer = None
  for name, curve in systems.items():
    if len(curve.counts.correct) == 1:
      continue
    values = figures(context, curve.policy, curve.counts)
    shares = {f"fraction_{exit}": share for exit, share in values.pop("fraction").items()}
    thresholds = {f"threshold_{exit}": t for exit, t in curve.thresholds._asdict().items()}
    table = thresholds | values | shares
    for point in range(len(curve.counts.correct)):
      row = {column: _at(array, point) for column, array in table.items()}
      row = {"system": name, "chosen": int(point == curve.chosen)} | row
      if writer is None:
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
      writer.writerow(row)
  return text.getvalue()


def report_html(summary: dict[str, Any], class_names: tuple[str, ...], pictures: list[Path]) -> str:
  """One self-contained page: table, hard classes and pictures."""
  head = "".join(f"<th>{html.escape(title)}" for title in ("system", *(t for _, t in COLUMNS)))
  body = "".join(
    "<tr>" + "".join(f"<td>{html.escape(text)}" for text in row) for row in rows(summary)
  )
  names = ", ".join(class_names[c] for c in summary["hard_classes"])
  images = "".join(
    f'<img alt="{path.stem}" src="data:image/png;base64,'
    f'{base64.b64encode(path.read_bytes()).decode()}">'
    for path in pictures
  )
  title = html.escape(f"MEANet on {summary['dataset']}")
  return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }}
th:first-child, td:first-child {{ text-align: left; }}
img {{ max-width: 100%; background: white; margin: 1rem 0; }}
</style>
<h1>{title}</h1>
<p>{summary["num_examples"]} {summary["split"]} images. Thresholds were chosen on the validation
split. Hard classes: {html.escape(names)}.</p>
<div><table><tr>{head}{body}</table></div>
{images}
</html>
"""


def _at(values: Any, point: int) -> float:
  values = np.asarray(values)
  return float(values[point] if values.ndim else values)


def _text(column: str, value: float | None) -> str:
  if value is None:
    return "-"
  if column in ("energy_mj", "latency_ms"):
    return f"{value:.4g}"
  if column == "macs_edge":
    return f"{value / 1e3:.1f}"
  if column == "bytes_up":
    return f"{value:.1f}"
  return f"{100 * value:.2f}"
