"""What an evaluation returned, drawn and written to its directory below the run's eval/."""

from pathlib import Path

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.parsing import to_json
from meanet_jax.cost.changes import CostChanges
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.evaluation.evaluate import Evaluation, evaluate
from meanet_jax.evaluation.unmet import unmet_lines
from meanet_jax.files import read_json, write_json, write_text
from meanet_jax.log import listed, logger
from meanet_jax.report.figure_text import undrawable_warning
from meanet_jax.report.figures import (
  draw_confusion,
  draw_entropies,
  draw_tradeoffs,
  drawn_names,
)
from meanet_jax.report.limits import show_verdict
from meanet_jax.report.page.contents import ReportContents, RunParts
from meanet_jax.report.page.page import report_page
from meanet_jax.report.tables import exact_points_csv, operating_points_csv, show_systems
from meanet_jax.routing.hard_classes import confusion_matrix
from meanet_jax.runs.directory import SUMMARY, RunDirectory
from meanet_jax.runs.lock import held, make_directory
from meanet_jax.runs.metrics import MetricsFile


def evaluate_run(
  workdir: str | Path,
  constraints: Constraints | None = None,
  reuse_records: bool | None = None,
  options: ReadOptions | None = None,
  costs: CostChanges = CostChanges(),  # noqa: B008 - immutable
  name: str | None = None,
) -> Evaluation:
  """Evaluates a run and writes the files, while no other process may write to the run.

  Args:
    workdir: a run with all stages finished.
    constraints, options, costs: as in `evaluate`.
    reuse_records: True reads the records in `eval/` and refuses others than the run's; False runs
      the networks. If not given, an evaluation with a name reads them where they are the run's,
      and one without runs the networks.
    name: of the evaluation, which is written to `eval/NAME`; None for one in `eval/` itself.

  Raises:
    UserError: no run in `workdir`, one in use by another process, a name that no directory can
      have, or as `evaluate`.
  """
  run = RunDirectory.existing(workdir)
  out = run.evaluation_path(name)
  reuse = "if_valid" if reuse_records is None and name is not None else "never"
  with held(run.path):
    evaluation = evaluate(run, constraints, "always" if reuse_records else reuse, options, costs)
    run.record_data(evaluation.dataset.describe())
    make_directory(out, "the evaluation's directory")
    write_evaluation(evaluation, run, out)
  return evaluation


def write_evaluation(evaluation: Evaluation, run: RunDirectory, out: Path) -> None:
  """Draws and writes an evaluation's files, without the records, and logs the table of systems.

  Args:
    evaluation: of the run.
    run: whose configuration, hard classes and environment the report shows.
    out: the evaluation's directory, which exists.
  """
  summary, names = evaluation.summary(), evaluation.class_names
  write_json(out / SUMMARY, summary)
  points = operating_points_csv(evaluation.points())
  write_text(out / "operating_points.csv", points)
  exact = exact_points_csv(evaluation.curves, evaluation.context)
  write_text(out / "exact_points.csv", exact)
  test, hard_classes = evaluation.test, evaluation.hard_classes
  confusion = confusion_matrix(test.label, test.main.prediction, hard_classes.num_classes)
  draw_tradeoffs(out, evaluation.dataset.name, evaluation.curves, evaluation.context)
  draw_entropies(out, evaluation.operating_point, test)
  draw_confusion(out, confusion, names, hard_classes.numbers)
  contents = ReportContents(
    summary=summary,
    system="meanet",
    operating_points=points,
    class_names=names,
    operating_point=evaluation.operating_point,
    records=test,
    taken=evaluation.route(),
    run=RunParts(
      hard_classes=read_json(run.hard_classes_path),
      config=to_json(evaluation.config),
      environment=read_json(run.environment_path),
      metrics=tuple(MetricsFile(run.metrics_path).read()),
      test=evaluation.dataset.test,
    ),
  )
  write_text(out / "report.html", report_page(contents))
  show_systems(summary)
  logger.info(f"hard classes: {listed([names[c] for c in hard_classes.numbers])}")
  if boxes := undrawable_warning([evaluation.dataset.name, *drawn_names(names)]):
    logger.warning(boxes)
  logger.info(f"figures and tables are in {out}")
  show_verdict(summary)
  for warning in unmet_lines(summary["systems"]):  # last, so that nobody overlooks them
    logger.warning(warning)
