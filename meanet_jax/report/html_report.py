"""report.html: one self-contained HTML report that a person explores a run with.

`html_report.html`, `html_report.css` and `html_report.js` are its parts; plotly.js comes from the
plotly package. A content security policy in it keeps it from loading anything, whatever those parts
do.
"""

import csv
import dataclasses
import html
import importlib.resources
import io
import json
import math
import string
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int
from plotly.offline import get_plotlyjs

from meanet_jax.data.splits import Split
from meanet_jax.evaluation.unmet import unmet_lines
from meanet_jax.report.examples import Examples, data_uri, pick
from meanet_jax.report.limits import limit_lines
from meanet_jax.report.tables import COLUMNS, rows
from meanet_jax.routing.policies import Route

# Columns of operating_points.csv that the slider moves, and how the script writes their numbers.
FIELDS = (
  ("threshold_main", "threshold, main", "number", ""),
  ("threshold_extension", "threshold, extension", "number", ""),
  ("threshold_hard", "threshold, hard", "number", ""),
  ("accuracy", "accuracy", "percent", "%"),
  ("hard_accuracy", "on hard classes", "percent", "%"),
  ("easy_accuracy", "on easy classes", "percent", "%"),
  ("fraction_main", "end at main", "percent", "%"),
  ("fraction_extension", "end at extension", "percent", "%"),
  ("fraction_cloud", "end in the cloud", "percent", "%"),
  ("bytes_up", "sent up", "number", "bytes"),
  ("energy_mj", "edge energy", "number", "mJ"),
  ("latency_ms", "latency", "number", "ms"),
  ("latency_p95_ms", "latency, p95", "number", "ms"),
  ("macs_edge", "edge compute", "count", "MACs"),
)
EXAMPLES_PER_KIND = 8
KIND_TITLES = {
  "easy": "Easy: ended at the main exit",
  "hard": "Hard: ended at the extension exit",
  "complex": "Complex: ended in the cloud",
}


@dataclasses.dataclass(frozen=True)
class ReportContents:
  """What the report shows; every part is also in a file of the run.

  summary, hard_classes, config, environment: contents of the JSON files of these names.
  operating_points: text of operating_points.csv, so that the report has its very numbers.
  confusion: of the main block on the test split, true classes in rows.
  taken: where MEANet sends the images of `test` at its operating point.
  """

  summary: dict[str, Any]
  operating_points: str
  class_names: tuple[str, ...]
  hard_classes: dict[str, Any]
  confusion: Int[np.ndarray, "c c"]
  taken: Route
  test: Split
  config: dict[str, Any]
  environment: dict[str, Any]


def report_page(contents: ReportContents) -> str:
  """The text of report.html."""
  summary = contents.summary
  examples = pick(contents.taken, contents.test.labels, EXAMPLES_PER_KIND)
  return string.Template(_part("html_report.html")).substitute(
    title=html.escape(f"MEANet on {summary['dataset']}"),
    style=_part("html_report.css"),
    lead=html.escape(
      f"{summary['num_examples']} {summary['split']} images of {summary['num_classes']} classes. "
      f"Thresholds were selected on {_selected_on(summary['constraints']['confidence'])}; numbers "
      f"are of the {summary['split']} split, unless they say otherwise.{_skipped(summary)}"
    ),
    systems=_table(("system", *(title for _, title in COLUMNS)), rows(summary)),
    unmet=_unmet(summary),
    fields="".join(map(_field, FIELDS)),
    hard_classes=_hard_classes(contents),
    class_means=_class_means(summary["systems"]["meanet"]),
    classes=_classes(summary["systems"]["meanet"]["per_class"]),
    examples="".join(_examples(kind, examples, contents) for kind in KIND_TITLES),
    environment=_table(("of the training run", ""), _flat(contents.environment)),
    config=_table(("field", "value"), _flat(contents.config)),
    data=_embedded(_data(contents)),
    plotly=get_plotlyjs(),
    script=_part("html_report.js"),
  )


def _selected_on(confidence: float | None) -> str:
  if confidence is None:
    return "the validation split"
  return (
    "validation images that selected nothing else, so that constraints that a system keeps hold "
    f"for it on new images with probability {confidence:g} (Learn then Test)"
  )


def _skipped(summary: dict[str, Any]) -> str:
  counts = [f"{count} of {split}" for split, count in summary["skipped_images"].items() if count]
  return f" Images that cannot be decoded were left out: {', '.join(counts)}." if counts else ""


def _unmet(summary: dict[str, Any]) -> str:
  lines = [f"<p>{html.escape(line)}</p>" for line in unmet_lines(summary["systems"])]
  warning = (
    f'<div class="warning"><p>Constraints not met:</p>{"".join(lines)}</div>' if lines else ""
  )
  asked = "".join(
    f"<li>{html.escape(line)}</li>" for line in limit_lines(summary["systems"]["meanet"])
  )
  verdict = html.escape(summary["verdict"]["sentence"])
  return f"{warning if lines else ''}<p>Verdict: {verdict}.</p><ul>{asked}</ul>"


def _data(contents: ReportContents) -> dict[str, Any]:
  systems = {
    name: {
      "accuracy": entry["accuracy"],
      "fraction_cloud": entry["fraction"]["cloud"],
      "energy_mj": entry["energy_mj"],
      "unused": [f"threshold_{exit}" for exit, t in entry["thresholds"].items() if t is None],
    }
    for name, entry in contents.summary["systems"].items()
  }
  # As a list of its non-zero cells: most of a thousand classes are never confused.
  cells = [
    [int(row), int(column), int(contents.confusion[row, column])]
    for row, column in np.argwhere(contents.confusion)
  ]
  return {
    "systems": systems,
    "curves": _curves(contents.operating_points),
    "classes": list(contents.class_names),
    "hard": contents.hard_classes["classes"],
    "cells": cells,
  }


def _curves(operating_points: str) -> dict[str, dict[str, list[float | None]]]:
  """Per swept system, the columns that the report shows, by name; it opens with the first."""
  curves: dict[str, dict[str, list[float | None]]] = {}
  columns = ("chosen", *(column for column, *_ in FIELDS))
  for row in csv.DictReader(io.StringIO(operating_points)):
    curve = curves.setdefault(row["system"], {column: [] for column in columns})
    for column in columns:
      value = float(row[column] or "nan")
      curve[column].append(None if math.isnan(value) else value)
  return dict(sorted(curves.items(), key=lambda item: item[0] != "meanet"))


def _embedded(value: Any) -> str:
  """JSON that no class name can break out of its script element with."""
  text = json.dumps(value, allow_nan=False, separators=(",", ":"))
  return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _field(field: tuple[str, str, str, str]) -> str:
  column, label, form, unit = field
  return (
    f"<div><dt>{html.escape(label)}</dt><dd>"
    f'<output data-field="{column}" data-form="{form}" for="point"></output>'
    f" <small>{html.escape(unit)}</small></dd></div>"
  )


def _hard_classes(contents: ReportContents) -> str:
  precision, recall = contents.hard_classes["precision"], _recall(contents.confusion)
  return _table(
    ("hard class", "precision [%]", "recall [%]"),
    (
      (contents.class_names[c], _percent(precision[c]), _percent(recall[c]))
      for c in contents.hard_classes["classes"]
    ),
  )


def _class_means(meanet: dict[str, Any]) -> str:
  balanced, macro = _percent(meanet["balanced_accuracy"]), _percent(meanet["macro_f1"])
  return f"balanced accuracy {balanced}&nbsp;%, macro F1 {macro}&nbsp;%"


def _classes(columns: dict[str, Any]) -> str:
  ratios = (columns["recall"], columns["precision"], columns["f1"], *columns["fraction"].values())
  exits = [f"{exit} [%]" for exit in columns["fraction"]]
  return _table(
    ("class", "images", "recall [%]", "precision [%]", "F1 [%]", *exits),
    (
      (name, str(support), *map(_percent, values))
      for name, support, *values in zip(columns["names"], columns["support"], *ratios, strict=True)
    ),
  )


def _recall(confusion: Int[np.ndarray, "c c"]) -> list[float | None]:
  return [float(row[c] / row.sum()) if row.any() else None for c, row in enumerate(confusion)]


def _examples(kind: str, examples: list[Examples], contents: ReportContents) -> str:
  parts = [f"<h3>{KIND_TITLES[kind]}</h3>"]
  for group in examples:
    if group.kind != kind:
      continue
    word = "right" if group.right else "wrong"
    parts.append(f'<h4 class="{word}">{word}: {group.total or "none"}</h4>')
    figures = (
      _figure(contents, int(number), int(label), int(prediction))
      for number, label, prediction in zip(group.shown, group.labels, group.predictions)
    )
    if group.total:
      parts.append(f'<div class="examples">{"".join(figures)}</div>')
  return "".join(parts)


def _figure(contents: ReportContents, number: int, label: int, prediction: int) -> str:
  true, said = (html.escape(contents.class_names[c]) for c in (label, prediction))
  source = data_uri(contents.test.images_at([number])[0])
  return (
    f'<figure><img src="{source}" alt="image {number}: {true}">'
    f"<figcaption><span>true <b>{true}</b></span>"
    f"<span>predicted <b>{said}</b></span></figcaption></figure>"
  )


def _table(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
  def row(tag: str, texts: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>"

  lines = "".join(row("td", texts) for texts in body)
  return (
    f'<div class="scroll" tabindex="0"><table><thead>{row("th", head)}</thead>'
    f"<tbody>{lines}</tbody></table></div>"
  )


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
  """Nested dicts as dotted names and their values, in JSON."""
  if isinstance(value, dict) and value:
    for name, item in value.items():
      yield from _flat(item, f"{path}.{name}" if path else name)
  else:
    yield path, value if isinstance(value, str) else json.dumps(value)


def _percent(share: float | None) -> str:
  return "-" if share is None else f"{100 * share:.2f}"


def _part(name: str) -> str:
  files = importlib.resources.files("meanet_jax.report")
  return files.joinpath(name).read_text(encoding="utf-8")
