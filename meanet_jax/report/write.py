"""What an evaluation returned, drawn and written to the run's eval/ directory."""

from pathlib import Path

from meanet_jax.config.constraints import Constraints
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.evaluation.evaluate import Evaluation, evaluate
from meanet_jax.evaluation.systems import unmet_lines
from meanet_jax.log import listed, logger
from meanet_jax.report.figure_text import undrawable_warning
from meanet_jax.report.figures import (
  draw_confusion,
  draw_entropies,
  draw_tradeoffs,
  drawn_names,
)
from meanet_jax.report.html_report import ReportContents, report_page
from meanet_jax.report.limits import show_verdict
from meanet_jax.report.tables import exact_points_csv, operating_points_csv, show_systems
from meanet_jax.routing.hard_classes import confusion_matrix
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import read_json, write_json, write_text
from meanet_jax.runs.lock import held


def evaluate_run(
  workdir: str | Path,
  constraints: Constraints | None = None,
  reuse_records: bool = False,
  options: ReadOptions | None = None,
) -> Evaluation:
  """Evaluates a run and writes its `eval/`, while no other process may write to the run.

  Args:
    workdir: a run with all stages finished.
    constraints, reuse_records, options: as in `evaluate`.

  Raises:
    UserError: no run in `workdir`, one in use by another process, or as `evaluate`.
  """
  run = RunDirectory.existing(workdir)
  with held(run.path):
    evaluation = evaluate(run, constraints, reuse_records, options)
    run.record_data(evaluation.dataset.describe())
    write_evaluation(evaluation, run)
  return evaluation


def write_evaluation(evaluation: Evaluation, run: RunDirectory) -> None:
  """Draws and writes the files of `eval/` but for the records, and logs the table of systems."""
  out, summary, names = run.eval_path, evaluation.summary(), evaluation.class_names
  out.mkdir(exist_ok=True)
  write_json(out / "summary.json", summary)
  points = operating_points_csv(evaluation.points())
  write_text(out / "operating_points.csv", points)
  exact = exact_points_csv(evaluation.curves, evaluation.context)
  write_text(out / "exact_points.csv", exact)
  test, hard_classes = evaluation.test, evaluation.hard_classes
  confusion = confusion_matrix(test.label, test.main.prediction, hard_classes.num_classes)
  draw_tradeoffs(out, evaluation.curves, evaluation.context)
  draw_entropies(out, test.main.entropy, test.main.prediction == test.label)
  draw_confusion(out, confusion, names, hard_classes.numbers)
  contents = ReportContents(
    summary=summary,
    operating_points=points,
    class_names=names,
    hard_classes=read_json(run.hard_classes_path),
    confusion=confusion,
    taken=evaluation.route(),
    test=evaluation.dataset.test,
    config=read_json(run.config_path),
    environment=read_json(run.environment_path),
  )
  write_text(out / "report.html", report_page(contents))
  show_systems(summary)
  logger.info(f"hard classes: {listed([names[c] for c in hard_classes.numbers])}")
  if boxes := undrawable_warning([evaluation.dataset.name, *drawn_names(names)]):
    logger.warning(boxes)
  logger.info(f"figures and tables are in {run.path}/eval")
  show_verdict(summary)
  for warning in unmet_lines(summary["systems"]):  # last, so that nobody overlooks them
    logger.warning(warning)
