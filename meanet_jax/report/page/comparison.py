"""comparison.html: several evaluated runs on one self-contained page."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from meanet_jax.report.colours import STYLES
from meanet_jax.report.page.diagrams import glossary
from meanet_jax.report.page.document import document
from meanet_jax.report.page.elements import (
  paragraph,
  part,
  percent,
  plot,
  script_json,
  section,
  table,
)

SCRIPTS = ("shared.js", "comparison.js")
TABLED_AT = (0, 2, 5, 10, 20, 50, 100)  # per cent of the images sent


class Comparison(NamedTuple):
  """What the page shows.

  summaries: by run, as summary.json; at least one. constraints: by run, that its thresholds were
  selected under, in words. titles, rows: of the table of systems, whose cells are mean ± standard
  deviation over runs. unmet: constraints that were not kept, a line each.
  at_offload: of each swept system the `mean` and the `standard_deviation` of the accuracy where 0
  to 100 per cent of the images are sent, None where not every run has a threshold for that.
  """

  summaries: Mapping[str, Mapping[str, Any]]
  constraints: Mapping[str, str]
  titles: Sequence[str]
  rows: Sequence[Sequence[str]]
  unmet: Sequence[str]
  at_offload: Mapping[str, Mapping[str, Sequence[float | None]]]


def comparison_page(found: Comparison) -> str:
  """The text of comparison.html."""
  first = next(iter(found.summaries.values()))
  split = first.get("split", "test")
  return document(
    f"{len(found.summaries)} runs of MEANet on {first['dataset']}",
    f"{first['num_examples']} {split} images of {first['num_classes']} classes; mean ± standard "
    f"deviation over runs, at the operating points selected on validation.",
    _systems(found) + _tradeoff(found) + _runs(found),
    script_json(_data(found.at_offload)),
    SCRIPTS,
  )


def _systems(found: Comparison) -> str:
  lines = "".join(map(paragraph, found.unmet))
  warning = f'<div class="warning"><p>Constraints not met:</p>{lines}</div>' if lines else ""
  entries = next(iter(found.summaries.values()))["systems"]
  shown = {name: entries[name] for name, *_ in found.rows}
  return section(
    "systems",
    "Systems over runs",
    warning,
    table("Systems", ("system", *found.titles), found.rows),
    paragraph(
      "Hard and easy are accuracies on those classes, cloud is the share of images sent; compute "
      f"and energy are of the edge, means per image. Energy is {_energy_basis(found)}."
    ),
    "<h3>What they are</h3>",
    glossary(shown, "meanet" if "meanet" in shown else next(iter(shown))),
  )


def _energy_basis(found: Comparison) -> str:
  """Estimated or measured, as the systems of all runs say; earlier versions estimated, unsaid."""
  entries = [entry for summary in found.summaries.values() for entry in summary["systems"].values()]
  return " or ".join(sorted({e.get("cost_basis", {}).get("energy", "estimated") for e in entries}))


def _tradeoff(found: Comparison) -> str:
  rows = [
    (f"{sent} %", *(_spread(line, sent) for line in found.at_offload.values()))
    for sent in TABLED_AT
  ]
  return section(
    "tradeoff",
    "Accuracy over images sent",
    paragraph(
      "Every threshold of every run: a line is the mean of the runs, its band one standard "
      "deviation to either side. The table below has the same numbers; - where not every run has a "
      "threshold that sends so many images."
    ),
    part("near_far.html"),
    plot("offload", "accuracy of every system against the share of images sent: mean and spread"),
    table("Accuracy [%] over images sent", ("sent", *found.at_offload), rows),
  )


def _runs(found: Comparison) -> str:
  rows = [
    (run, found.constraints[run], summary.get("verdict", {}).get("sentence", "-"))
    for run, summary in found.summaries.items()
  ]
  return section("runs", "Runs", table("Runs", ("run", "constraints", "system to use"), rows))


def _spread(line: Mapping[str, Sequence[float | None]], sent: int) -> str:
  mean, deviation = line["mean"][sent], line["standard_deviation"][sent]
  return "-" if mean is None else f"{percent(mean)} ± {percent(deviation)}"


def _data(at_offload: Mapping[str, Mapping[str, Sequence[float | None]]]) -> dict[str, Any]:
  styles = {name: STYLES[name] for name in at_offload}
  return {
    name: {"colour": styles[name].colour, "dash": styles[name].dash} | dict(line)
    for name, line in at_offload.items()
  }
