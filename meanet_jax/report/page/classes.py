"""Sections about classes: confusion matrices, every class's figures, the hard classes."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

from meanet_jax.evaluation.context import plain
from meanet_jax.log import listed
from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.elements import paragraph, percent, plot, section, table

MOST_ROWS = 3000  # of all other systems' tables together, some 150 bytes each


def confusion_section(contents: ReportContents) -> str:
  """Main's confusion matrix beside the system's."""
  split, system = contents.summary["split"], contents.system
  matrices = "".join(
    f"<div><h3>{html.escape(title)}</h3>{_matrix(name, title)}</div>"
    for name, title in (("confusion", "main block alone"), ("confusion_system", system))
  )
  return section(
    "confusions",
    "Confusion matrices",
    paragraph(
      f"Images of the {split} split; true classes in rows, predicted classes in columns, hard "
      f"classes in orange. On the right the final answers of {system} at its selected point."
    ),
    f'<div class="plots">{matrices}</div>',
    '<p id="cell" role="status">Point at a cell, or select a matrix with the tab key and move with '
    "the arrow keys.</p>",
  )


def _matrix(name: str, title: str) -> str:
  drawn = plot(f"{name}_plot", f"confusion matrix of {title}", "matrix")
  return (
    f'<div id="{name}" class="keys" tabindex="0" role="application" '
    f'aria-label="confusion matrix of {html.escape(title)}; arrow keys read its cells" '
    f'aria-describedby="cell">{drawn}</div>'
  )


def classes_section(contents: ReportContents) -> str:
  """Recall, precision and F1 of every class, and where its images end; other systems' folded in."""
  found = contents.per_class
  means = plain({"balanced": found.balanced_accuracy, "f1": found.macro_f1})
  return section(
    "classes",
    "Classes",
    paragraph(
      f"Of {contents.system} at its selected operating point: balanced accuracy "
      f"{percent(means['balanced'])} %, macro F1 {percent(means['f1'])} %. Recall is the share "
      "of a class's images that are answered right, precision that of the answers of a class that "
      "are right; the last shares are of the class's images."
    ),
    _class_table("Figures of every class", found.to_json(contents.class_names)),
    *_of_other_systems(contents),
  )


def _of_other_systems(contents: ReportContents) -> Iterator[str]:
  """Their tables, as far as the page has space for them."""
  entries = {
    name: entry
    for name, entry in contents.summary["systems"].items()
    if name != contents.system and "per_class" in entry
  }
  if len(entries) * len(contents.class_names) > MOST_ROWS:
    yield paragraph("The tables of the other systems are in summary.json (per_class).")
    return
  for name, entry in entries.items():
    title = (
      f"{name}: balanced accuracy {percent(entry['balanced_accuracy'])} %, "
      f"macro F1 {percent(entry['macro_f1'])} %"
    )
    rows = _class_table(f"Figures of every class, {name}", entry["per_class"])
    yield f"<details><summary>{html.escape(title)}</summary>{rows}</details>"


def _class_table(caption: str, columns: Mapping[str, Any]) -> str:
  ratios = (columns["recall"], columns["precision"], columns["f1"], *columns["fraction"].values())
  exits = [f"ends at {exit} [%]" for exit in columns["fraction"]]
  rows = (
    (name, str(support), *map(percent, values))
    for name, support, *values in zip(columns["names"], columns["support"], *ratios, strict=True)
  )
  head = ("class", "images", "recall [%]", "precision [%]", "F1 [%]", *exits)
  return table(caption, head, rows)


def hard_classes_section(contents: ReportContents) -> str:
  """The hard classes, the least precise first, and how a tie was decided; "" without a run."""
  if contents.run is None:
    return ""
  found, names = contents.run.hard_classes, contents.class_names
  confusion = contents.confusion(contents.records.main.prediction)
  tied = set((found.get("tie") or {}).get("selected", ()))
  rows = []
  for c in sorted(found["classes"], key=lambda c: (found["precision"][c] or 0.0, c)):
    images = confusion[c].sum()
    recall = float(confusion[c, c] / images) if images else None
    rows.append(
      (names[c], percent(found["precision"][c]), percent(recall), "tie" if c in tied else "")
    )
  return section(
    "hard-classes",
    "Hard classes",
    paragraph(
      "Precision is the main block's when the hard classes were selected, on validation images "
      "(correct predictions of a class / all predictions of it); recall is its on the "
      f"{contents.summary['split']} split, as it is now. The least precise come first."
    ),
    _tie(found.get("tie"), names),
    table("Hard classes", ("hard class", "precision [%]", "recall [%]", ""), rows),
  )


def _tie(tie: Mapping[str, Any] | None, names: tuple[str, ...]) -> str:
  if tie is None:
    return ""
  taken, left = (listed([names[c] for c in tie[key]]) for key in ("selected", "left_out"))
  return paragraph(
    f"A tie: {taken} are hard, and {left} with the same precision of {percent(tie['precision'])} % "
    f"are not; decided by {tie['decided_by']}."
  )
