"""From a finished run to its eval/ directory."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool

from meanet_jax.config.schema import Config
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from meanet_jax.evaluation.collect import collect
from meanet_jax.evaluation.study import study
from meanet_jax.evaluation.systems import Context, evaluate_systems, summary_entry, unmet_lines
from meanet_jax.log import listed, logger
from meanet_jax.models.costs import block_macs, training_activation_bytes
from meanet_jax.models.zoo import build
from meanet_jax.report.examples import route_chosen
from meanet_jax.report.figure_text import undrawable_warning
from meanet_jax.report.figures import (
  draw_confusion,
  draw_entropies,
  draw_tradeoffs,
  drawn_names,
)
from meanet_jax.report.html_report import Evaluation, report_page
from meanet_jax.report.tables import exact_points_csv, operating_points_csv, show_systems
from meanet_jax.routing.hard_classes import confusion_matrix, is_hard
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import read_json, write_json, write_text
from meanet_jax.runs.lock import held
from meanet_jax.selection.select import Constraints
from meanet_jax.training.parallel import check_batch_size
from meanet_jax.training.pipeline import read_hard_classes, require_finished


def evaluate(
  workdir: str | Path,
  constraints: Constraints | None = None,
  reuse_records: bool = False,
  options: ReadOptions | None = None,
) -> None:
  """Collects records, chooses thresholds on validation, reports on test; writes `eval/`.

  By one process, on its own devices, whatever others there are.

  Args:
    workdir: a run with all stages finished.
    wish: replaces the configuration's.
    reuse_records: read the records of an earlier evaluation instead of running the networks.
    options: where and how data are read.

  Raises:
    UserError: no run in `workdir`, one with unfinished stages or in use by another process, a wish
      that cannot be tested, or records that cannot be reused.
  """
  run = RunDirectory.existing(workdir)
  with held(run.path):
    _evaluate(run, constraints, reuse_records, options)


def _evaluate(
  run: RunDirectory,
  constraints: Constraints | None,
  reuse_records: bool,
  options: ReadOptions | None,
) -> None:
  config = run.config()
  check_evaluation(config)
  options = (options or ReadOptions()).or_from(run.data_dir())
  dataset = load(config.dataset, options)
  run.record_data(dataset.describe())
  require_finished(config, dataset, run)
  hard_classes = read_hard_classes(run)
  constraints = configured_constraints(config) if constraints is None else constraints
  chooses = threshold_images(config, constraints, len(dataset.validation))
  validation, test, calibrated = collect(config, run, dataset, hard_classes, reuse_records)

  logger.info(
    f"sweeping {config.evaluation.num_thresholds} thresholds, to choose on "
    f"{chooses.sum()} of {len(chooses)} validation images"
  )
  hard = is_hard(hard_classes, config.dataset.num_classes)
  macs = block_macs(build(config), config)
  choosing = jax.tree.map(lambda values: values[chooses], validation)
  systems = evaluate_systems(config, macs, hard, choosing, test, constraints)
  context = Context.of(config, macs, hard, test)
  meanet = systems["meanet"]
  taken = route_chosen(meanet, test, hard)
  summary = {
    "dataset": dataset.name,
    "split": "test",
    "num_examples": context.num_images,
    "skipped_images": dataset.skipped,
    "num_classes": config.dataset.num_classes,
    "hard_classes": hard_classes.tolist(),
    "class_names": list(dataset.class_names),
    "wish": dataclasses.asdict(constraints),
    "systems": {name: summary_entry(context, line) for name, line in systems.items()},
    "calibration": calibrated,
    "study": study(meanet.policy, config, validation, test, hard, taken)
    | {"training_activation_bytes": training_activation_bytes(build(config), config)},
  }
  out = run.eval_path
  write_json(out / "summary.json", summary)
  points = operating_points_csv(systems, context)
  write_text(out / "operating_points.csv", points)
  write_text(out / "exact_points.csv", exact_points_csv(systems, context, test))
  confusion = confusion_matrix(test.label, test.main.prediction, config.dataset.num_classes)
  draw_tradeoffs(out, systems, context)
  draw_entropies(out, test.main.entropy, test.main.prediction == test.label)
  draw_confusion(out, confusion, dataset.class_names, hard_classes)
  page = Evaluation(
    summary=summary,
    operating_points=points,
    class_names=dataset.class_names,
    hard_classes=read_json(run.hard_classes_path),
    confusion=confusion,
    taken=taken,
    test=dataset.test,
    config=read_json(run.config_path),
    environment=read_json(run.environment_path),
  )
  write_text(out / "report.html", report_page(page))
  show_systems(summary)
  names = listed([dataset.class_names[c] for c in hard_classes])
  logger.info(f"hard classes: {names}")
  if boxes := undrawable_warning([dataset.name, *drawn_names(dataset.class_names)]):
    logger.warning(boxes)
  logger.info(f"pictures and tables are in {run.path}/eval")
  for warning in unmet_lines(summary["systems"]):  # last, so that nobody overlooks them
    logger.warning(warning)


def check_evaluation(config: Config) -> None:
  """Refuses a batch that this process's devices cannot share evenly.

  Raises:
    UserError: of `evaluation.batch_size`.
  """
  devices = jax.local_device_count()
  check_batch_size(config.evaluation.batch_size, "evaluation.batch_size", devices=devices)


def configured_constraints(config: Config) -> Constraints:
  """The wish of a configuration's `evaluation` fields, which bear the wish's names."""
  names = [field.name for field in dataclasses.fields(Constraints)]
  return Constraints(**{name: getattr(config.evaluation, name) for name in names})


def threshold_images(
  config: Config, constraints: Constraints, num_images: int
) -> Bool[np.ndarray, " n"]:
  """The validation images on which thresholds are chosen.

  All of them or, under a confidence, those that chose nothing else.

  Args:
    config: the run's.
    wish: under which thresholds are chosen.
    num_images: n, of the validation split.

  Raises:
    UserError: a confidence, and a run that kept no such images.
  """
  if constraints.confidence is None:
    return np.ones(num_images, bool)
  fraction = config.evaluation.calibration_fraction
  if not fraction:
    raise UserError(
      f"confidence {constraints.confidence:g} needs validation images that chose nothing else, and "
      "evaluation.calibration_fraction is 0; accepted: a run trained with that field above 0"
    )
  return calibration_part(num_images, fraction, config.dataset.split_seed)
