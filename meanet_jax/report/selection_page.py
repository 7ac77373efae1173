"""The figures and report.html of what was selected from logits alone."""

from pathlib import Path

from meanet_jax.config.constraints import Constraints
from meanet_jax.evaluation.from_logits import LogitSelection
from meanet_jax.evaluation.logit_systems import logit_systems
from meanet_jax.evaluation.systems import route_selected
from meanet_jax.files import write_text
from meanet_jax.report.figures import draw_confusion, draw_entropies, draw_tradeoffs
from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.page import report_page
from meanet_jax.report.tables import operating_points_csv

NAME = "own logits"


def write_figures_and_page(out: Path, found: LogitSelection, constraints: Constraints) -> None:
  """Draws and writes them, as for a run without its images, hard classes and training.

  Args:
    out: the directory, which exists.
    found: what was selected.
    constraints: under which.
  """
  systems, point = logit_systems(found, constraints, NAME), found.operating_point
  records = found.curve.records
  names = tuple(map(str, range(point.hard_classes.num_classes)))
  contents = ReportContents(
    summary=systems.summary,
    system=systems.system,
    operating_points=operating_points_csv(systems.points),
    class_names=names,
    operating_point=point,
    records=records,
    taken=route_selected(point, records),
    run=None,
  )
  draw_tradeoffs(out, NAME, systems.curves, found.context)
  draw_entropies(out, point, records)
  draw_confusion(
    out, contents.confusion(records.main.prediction), names, point.hard_classes.numbers
  )
  write_text(out / "report.html", report_page(contents))
