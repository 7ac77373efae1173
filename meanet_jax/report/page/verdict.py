"""The first section: which system to use, what was asked of it, and what came of that."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

from meanet_jax.evaluation.unmet import unmet_lines
from meanet_jax.report.limits import limit_cells, noise_line
from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.diagrams import GLOSSARY, described, policy_of
from meanet_jax.report.page.elements import paragraph, section, table


def verdict_section(contents: ReportContents) -> str:
  """Verdict, constraints that are not met, and a row for every limit of the systems concerned."""
  summary, systems = contents.summary, contents.summary["systems"]
  verdict = summary["verdict"]
  lines = "".join(map(paragraph, unmet_lines(systems)))
  warning = f'<div class="warning"><p>Constraints not met:</p>{lines}</div>' if lines else ""
  kind = "verdict" if verdict["system"] is not None else "verdict warning"
  names = [name for name in dict.fromkeys((verdict["system"], contents.system)) if name is not None]
  noise = [f"{name} {line}." for name in names if (line := noise_line(systems[name])) is not None]
  return section(
    "verdict",
    "What to use",
    f'<p class="{kind}"><b>Verdict:</b> {html.escape(verdict["sentence"])}.</p>',
    _named(contents),
    warning,
    _limits(contents, names),
    *map(paragraph, noise),
    paragraph(_promise(summary["constraints"]["confidence"], contents)),
    paragraph(cost_line(contents)),
  )


def _named(contents: ReportContents) -> str:
  """What the system to deploy is, and the one after it."""
  verdict, systems = contents.summary["verdict"], contents.summary["systems"]
  lines = []
  for name in (verdict["system"], verdict.get("runner_up")):
    if name in GLOSSARY and name in systems:
      policy = policy_of(systems[name]) or policy_of(contents.entry)
      lines.append(f"<dt>{name}</dt><dd>{html.escape(described(name, policy))}</dd>")
  return f'<dl class="named">{"".join(lines)}</dl>' if lines else ""


def cost_line(contents: ReportContents) -> str:
  """Whether energy and latency were measured, and by what they were estimated if not."""
  basis, profile = contents.entry["cost_basis"], contents.summary.get("profile")
  if profile is not None:
    said = ", ".join(f"{name} is {word}" for name, word in basis.items())
    return f"With the device profile {profile['name']}, {said}."
  cost = contents.summary["cost"]
  return (
    f"Energy and latency are estimated by a cost model ({cost['radio']} at "
    f"{cost['uplink_mbps']:g} Mbit/s, {cost['edge_pj_per_mac']:g} pJ per multiply-accumulate), not "
    "measured on a device."
  )


def _limits(contents: ReportContents, names: list[str]) -> str:
  systems = contents.summary["systems"]
  rows = [row for name in names for row in _rows(name, systems[name])]
  if not rows:
    return paragraph("No limit was asked for.")
  split = contents.summary["split"]
  head = ("system", "limit", "asked", "validation", f"{split} [95% interval]", f"kept on {split}")
  return table("What was asked, and what came", head, rows) + paragraph(
    "Intervals are of the figure on these images: exact binomial for shares of images, and of all "
    "classes at once for the worst of them; draws of the shares of images that are sent and that "
    "run the extension for energy and latency; a bootstrap within classes for balanced accuracy."
  )


def _rows(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
  for field, limit in entry.get("limits", {}).items():
    kept = {True: "yes", False: "no", None: "-"}[limit.get("kept_on_test")]
    yield (name, *limit_cells(field, limit), kept)


def _promise(confidence: float | None, contents: ReportContents) -> str:
  if confidence is None:
    return (
      "Thresholds were selected on validation images; on other images a limit may be missed by "
      "what the interval shows."
    )
  return (
    "Thresholds were selected on validation images that selected nothing else. Where "
    f"{contents.system} keeps its constraints there, it keeps them on new images with probability "
    f"{confidence:g} (Learn then Test)."
  )
