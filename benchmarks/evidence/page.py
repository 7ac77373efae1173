"""The page: one section for each configuration, those of others left as they are."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.evidence.measure import (
  AREA_POLICY,
  SHARES,
  TOLERANCE,
  ByShare,
  Measured,
  Operating,
)
from benchmarks.evidence.paired import Difference, paired_difference
from benchmarks.measured_on import measured_on

TITLE = "# Evidence: what wins at equal cost"
INTRODUCTION = """
Made by `python -m benchmarks.evidence`, one section for each configuration, from the records of
finished runs. Test accuracy in percent, mean ± standard deviation over seeds. At every share all
thresholds, temperatures, weights and `meanet`'s policy (`routing.policy=auto`) are selected on
validation images, for at most that share of the images sent; test images select nothing. `static`
is a plain network of what `meanet`'s edge is meant to cost (its MACs are in the table) that
sees as many images; `static_cloud` has the same cloud behind it and sends by calibrated largest
probability.
""".strip()
KNOWN = ("digits", "fashion_mnist")
ORDER = (
  "main_only", "edge_only", "static", "cloud_only", "main_cloud", "paper", "meanet", "static_cloud",
)  # fmt: skip
ALONE = ("main_only", "edge_only", "static")
AGAINST = ("paper", "main_cloud", "static_cloud")
PAIRED_AT = (0.05, 0.1)
DEPLOYED_AT = (0.05, 0.1, 0.2)
BUDGETED_AT = (0.0, 0.05, 0.1)
NONE = "-"


# By seed, then by MACs, then by system; None for a system that cannot keep a budget.
Budgets = Sequence[Mapping[float, Mapping[str, ByShare | None]]]


class Section(NamedTuple):
  """What a section shows.

  name: of the configuration. static_budgets: in MMAC, for which static networks were trained.
  measured: by seed. summaries: the systems of summary.json, by seed. constraints: under which those
  stand. minutes: that trainings took.
  """

  name: str
  static_budgets: Sequence[float]
  measured: Sequence[Measured]
  budgets: Budgets
  summaries: Sequence[Mapping[str, Any]]
  constraints: str
  minutes: Sequence[float]


def figure_name(name: str) -> str:
  """The file of a configuration's figure, beside the page."""
  return f"evidence_{name}.svg"


def with_section(page: str, section: str) -> str:
  """A page with one section new, or added; configurations that have none are said to lack one.

  Args:
    page: as it was; may be empty.
    section: from its heading on.
  """
  parts = {part.split("\n", 1)[0]: part.strip() for part in page.split("\n## ")[1:]}
  parts[section.split("\n", 1)[0].removeprefix("## ")] = section.removeprefix("## ").strip()
  for name in KNOWN:
    parts.setdefault(name, f"{name}\n\nNot measured.")
  texts = [f"## {parts[name]}" for name in sorted(parts)]
  return "\n\n".join([TITLE, INTRODUCTION, *texts]) + "\n"


def section_text(section: Section) -> str:
  """A section as Markdown."""
  seeds, images = len(section.measured), len(section.measured[0].labels)
  took = section.minutes
  command = f"python -m benchmarks.evidence --config configs/{section.name}.py --seeds {seeds}"
  if section.static_budgets:
    command += f" --static-budgets {' '.join(f'{budget:g}' for budget in section.static_budgets)}"
  lines = [
    f"## {section.name}",
    f"{seeds} seeds, {images:,} test images. `{command}`",
    "### At equal shares of images sent",
    f"![Accuracy of every system over the share of images sent]({figure_name(section.name)})",
    table(*_shares(section.measured)),
    most_accurate(section.measured),
    "Area: mean accuracy over shares of 0 to 20% of the test images sent, as the threshold moves "
    f"(`meanet`: by the policy selected for {AREA_POLICY:.0%}). {NONE}: a system that sends "
    "nothing, or everything.",
    "### Against the others",
    table(*_differences(section.measured)),
    "`meanet` less the other system in points of accuracy, with the 95% interval of a paired "
    "bootstrap over seeds and test images; an interval without 0 is in bold.",
    "### At equal edge budgets",
    table(*at_budgets(section.budgets)),
    "`meanet` here is the policy `gated`, or `uncertain` where the extension has all classes, "
    "whose `routing.run_share` is what the budget pays for on validation; `static_cloud` at 0% is "
    "the static network alone, of the budget's MACs where one "
    f"was trained for it. {NONE}: the edge's mean MACs are more than {TOLERANCE:.0%} above the "
    "budget, or the budget is the main block's.",
    table(*differences_at_budgets(section.budgets)),
    "`meanet` less the other system as above, both as in the table of budgets.",
    "### Which rule gave what",
    table(*_rules(section.measured)),
    "From the same records, without training. From the left each column has the change of those "
    "before it as well: decisions after the extension; calibrated largest probability in place of "
    "entropy; the extension for at most `routing.run_share` of the images, of which main is least "
    "certain; both exits' distributions "
    "fused; `learned` in place of the largest probability; and, without that, the cloud's "
    "distribution fused too. "
    f"{NONE}: too few validation images to fit it.",
    "### Under the configuration's own constraints",
    table(*_own(section.summaries)),
    f"The systems of `summary.json` under {section.constraints}.",
    f"All steps of a seed took {min(took):.1f} to {max(took):.1f} minutes.",
    " ".join(measured_on()).strip(),
  ]
  return "\n\n".join(lines)


def most_accurate(measured: Sequence[Measured]) -> str:
  """What to deploy by the first table, whatever it costs: a system may send less than it may."""
  found = []
  for share in (0.0, *DEPLOYED_AT):
    means = {
      name: statistics.mean(one.systems[name][share].accuracy for one in measured)
      for name in measured[0].systems
      if name != "cloud_only"
    }
    name = max(means, key=lambda name: means[name])
    macs = statistics.mean(one.systems[name][share].macs for one in measured) / 1e6
    found.append(f"{share:.0%}: `{name}` ({100 * means[name]:.2f}, {macs:.3f} MMAC)")
  return f"**Most accurate where at most so many images are sent**: {'; '.join(found)}."


def spread(values: Sequence[float], digits: int) -> str:
  """Mean ± standard deviation; of a single value the value."""
  text = f"{statistics.mean(values):.{digits}f}"
  return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.{digits}f}"


Table = tuple[list[str], list[list[str]]]


def table(head: list[str], rows: list[list[str]]) -> str:
  """Markdown."""
  return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def percent(values: Sequence[float]) -> str:
  """Mean and spread over seeds, of shares as percentages."""
  return spread([100 * value for value in values], 2)


def _macs(points: Sequence[Operating]) -> str:
  return spread([point.macs / 1e6 for point in points], 3)


def _shares(measured: Sequence[Measured]) -> Table:
  head = ["system", *(f"{share:.0%}" for share in SHARES), "all", "area"]
  head += ["sent at 10% [%]", "edge MMAC at 0%", "edge MMAC at 10%"]
  rows = []
  for name in (name for name in ORDER if name in measured[0].systems):
    at = {share: [one.systems[name][share] for one in measured] for share in SHARES}
    accuracy = [percent([point.accuracy for point in at[share]]) for share in SHARES]
    cells = [f"`{name}`"]
    if name == "cloud_only":
      cells += [NONE] * len(SHARES) + [accuracy[0], NONE, "100.0", NONE, NONE]
    elif name in ALONE:
      cells += [accuracy[0], *[NONE] * len(SHARES), NONE, NONE, _macs(at[0.0]), NONE]
    else:
      sent = spread([100 * point.sent for point in at[0.1]], 1)
      areas = percent([one.areas[name] for one in measured])
      cells += [*accuracy, NONE, areas, sent, _macs(at[0.0]), _macs(at[0.1])]
    rows.append(cells)
  return head, rows


def _differences(measured: Sequence[Measured]) -> Table:
  head = ["`meanet` less", *(f"{share:.0%}" for share in PAIRED_AT)]
  rows = []
  for name in (name for name in (*AGAINST, "cloud_only") if name in measured[0].systems):
    sides = ([one.systems[side] for one in measured] for side in ("meanet", name))
    rows.append([f"`{name}`", *_paired(*sides, PAIRED_AT)])
  return head, rows


def _paired(
  ours: Sequence[ByShare], others: Sequence[ByShare], shares: Sequence[float]
) -> list[str]:
  """A cell for each share, of two systems by seed."""

  def cell(share: float) -> str:
    sides = ([one[share].correct for one in side] for side in (ours, others))
    return difference_text(paired_difference(*sides))

  return [cell(share) for share in shares]


def difference_text(difference: Difference) -> str:
  """In points of accuracy; bold where the interval has no 0."""
  mean, low, high = (100 * value for value in difference)
  text = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
  return f"**{text}**" if low > 0 or high < 0 else text


def _kept(budgets: Budgets, budget: float, name: str) -> list[ByShare]:
  """What a system has at a budget, by seed; empty where it cannot keep it for all seeds."""
  found = [of[budget][name] for of in budgets]
  kept = [one for one in found if one is not None]
  return kept if len(kept) == len(found) else []


def at_budgets(budgets: Budgets) -> Table:
  """Accuracy and MACs of every system at every budget."""
  head = ["budget [MMAC]", "system", *(f"{share:.0%}" for share in BUDGETED_AT), "edge MMAC at 0%"]
  rows = []
  for budget, systems in budgets[0].items():
    for name in systems:
      cells = [NONE] * (len(BUDGETED_AT) + 1)
      if kept := _kept(budgets, budget, name):
        cells = [percent([found[s].accuracy for found in kept]) for s in BUDGETED_AT]
        cells.append(_macs([found[0.0] for found in kept]))
      rows.append([f"{budget / 1e6:g}", f"`{name}`", *cells])
  return head, rows


def differences_at_budgets(budgets: Budgets) -> Table:
  """`meanet` less each system that keeps a budget which `meanet` keeps."""
  head = ["budget [MMAC]", "`meanet` less", *(f"{share:.0%}" for share in BUDGETED_AT)]
  rows = []
  for budget in budgets[0]:
    ours = _kept(budgets, budget, "meanet")
    for name in AGAINST:
      others = _kept(budgets, budget, name)
      if ours and others:
        rows.append([f"{budget / 1e6:g}", f"`{name}`", *_paired(ours, others, BUDGETED_AT)])
  return head, rows


def _rules(measured: Sequence[Measured]) -> Table:
  head = ["sent at most", *measured[0].rules]

  def row(title: str, cell: Callable[[list[ByShare]], str]) -> list[str]:
    cells = [title]
    for rule in measured[0].rules:
      of_seeds = [one.rules[rule] for one in measured]
      found = [points for points in of_seeds if points is not None]
      cells.append(cell(found) if len(found) == len(of_seeds) else NONE)
    return cells

  rows = [
    row(f"{share:.0%}", lambda found, s=share: percent([one[s].accuracy for one in found]))
    for share in SHARES
  ]
  rows.append(row("edge MMAC at 10%", lambda found: _macs([one[0.1] for one in found])))
  return head, rows


def _own(summaries: Sequence[Mapping[str, Any]]) -> Table:
  head = ["system", "accuracy", "hard classes", "easy classes", "to the cloud [%]", "edge kMAC"]
  head.append("energy [µJ]")
  rows = []
  for name in summaries[0]:
    of = [summary[name] for summary in summaries]
    cells = [percent([one[f"{part}accuracy"] for one in of]) for part in ("", "hard_", "easy_")]
    cells.append(spread([100 * one["fraction"]["cloud"] for one in of], 1))
    cells.append(spread([one["macs_edge"] / 1e3 for one in of], 1))
    cells.append(spread([one["energy_mj"] * 1e3 for one in of], 2))
    rows.append([f"`{name}`", *cells])
  return head, rows
