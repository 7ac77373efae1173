"""report.html: one self-contained page by which a person decides."""

import html
import string

from meanet_jax.report.page.classes import classes_section, confusion_section, hard_classes_section
from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.diagrams import glossary
from meanet_jax.report.page.document import document
from meanet_jax.report.page.elements import flat, paragraph, part, section, table
from meanet_jax.report.page.embedded import FIELDS, embedded
from meanet_jax.report.page.examples import examples_section
from meanet_jax.report.page.learning import learning_section
from meanet_jax.report.page.reliability import calibration_section
from meanet_jax.report.page.verdict import verdict_section
from meanet_jax.report.tables import COLUMNS, rows

SCRIPTS = ("shared.js", "tradeoffs.js", "confusion.js", "lines.js")


def report_page(contents: ReportContents) -> str:
  """The text of report.html."""
  tradeoffs = string.Template(part("tradeoffs.html")).substitute(
    fields="".join(_field(field, contents) for field in FIELDS),
    near_far=part("near_far.html"),
    split=html.escape(contents.summary["split"]),
  )
  details = (
    confusion_section,
    classes_section,
    hard_classes_section,
    calibration_section,
    learning_section,
    examples_section,
    _of_run,
  )
  parts = [verdict_section(contents), _systems(contents), tradeoffs]
  return document(
    f"MEANet on {contents.summary['dataset']}",
    _lead(contents),
    "\n".join([*parts, *(make(contents) for make in details)]),
    embedded(contents),
    SCRIPTS,
  )


def _lead(contents: ReportContents) -> str:
  summary = contents.summary
  counts = [f"{n} of {split}" for split, n in summary.get("skipped_images", {}).items() if n]
  skipped = f" Images that cannot be decoded were left out: {', '.join(counts)}." if counts else ""
  return (
    f"{summary['num_examples']} {summary['split']} images of {summary['num_classes']} classes; "
    f"numbers are of the {summary['split']} split, unless they say otherwise.{skipped}"
  )


def _systems(contents: ReportContents) -> str:
  basis = contents.entry["cost_basis"]
  words = {"energy_mj": basis["energy"]} | dict.fromkeys(
    ("latency_ms", "latency_p95_ms"), basis["latency"]
  )
  titles = [f"{title}, {words[name]}" if name in words else title for name, title in COLUMNS]
  systems = contents.summary["systems"]
  others = [
    f"{name}'s are {' and '.join(sorted(set(entry['cost_basis'].values())))}"
    for name, entry in systems.items()
    if entry["cost_basis"] != basis
  ]
  note = f" Of energy and latency, {'; '.join(others)}." if others else ""
  return section(
    "systems",
    "Systems at their selected operating points",
    table("Systems", ("system", *titles), rows(dict(contents.summary))),
    paragraph(
      "main, ext. and cloud are shares of images that end at each exit; bytes, compute, energy and "
      f"latency are means per image, p95 is what 95 % of the images do not exceed.{note}"
    ),
    "<h3>What they are</h3>",
    glossary(systems, contents.system),
  )


def _field(field: tuple[str, str, str, str], contents: ReportContents) -> str:
  column, label, form, unit = field
  basis = contents.entry["cost_basis"].get(column.split("_")[0])
  named = label if basis is None else f"{label}, {basis}"
  return (
    f"<div><dt>{html.escape(named)}</dt><dd>"
    f'<output data-field="{column}" data-form="{form}" for="point"></output>'
    f" <small>{html.escape(unit)}</small></dd></div>"
  )


def _of_run(contents: ReportContents) -> str:
  if contents.run is None:
    return ""
  config, environment = contents.run.config, contents.run.environment
  return section(
    "run",
    "Versions and configuration",
    "<details><summary>versions of the training run</summary>",
    table("Versions", ("of the training run", ""), flat(environment)),
    "</details><details><summary>configuration, with the costs of this evaluation</summary>",
    table("Configuration", ("field", "value"), flat(config)),
    "</details>",
  )
