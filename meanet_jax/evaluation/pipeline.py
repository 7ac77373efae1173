"""From a finished run to its eval/ directory."""

from pathlib import Path

import numpy as np

from meanet_jax.config import STAGE_NAMES, Config
from meanet_jax.console import Reporter
from meanet_jax.data.sources import Dataset, Split, load
from meanet_jax.errors import UserError
from meanet_jax.evaluation.pictures import draw_confusion, draw_tradeoffs
from meanet_jax.evaluation.records import make_records, save_records
from meanet_jax.evaluation.report import operating_points_csv, report_html, terminal_table
from meanet_jax.evaluation.systems import Context, curve, policies, summary_entry
from meanet_jax.models.costs import block_macs
from meanet_jax.models.meanet import Exits
from meanet_jax.models.zoo import build
from meanet_jax.routing.classes import confusion_matrix, is_hard
from meanet_jax.routing.policies import Records
from meanet_jax.runs.checkpoints import finished_step
from meanet_jax.runs.directory import RunDirectory, write_json, write_text
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import check_batch_size, replicate
from meanet_jax.training.pipeline import load_variables, read_hard_classes


def evaluate(workdir: str | Path, reporter: Reporter) -> None:
  """Collects records, chooses thresholds on validation, reports on test; writes `eval/`.

  Raises:
    UserError: no run in `workdir`, or one with unfinished stages.
  """
  run = RunDirectory.existing(workdir)
  config = run.config()
  check_batch_size(config.evaluation.batch_size, "evaluation.batch_size")
  for stage in STAGE_NAMES:
    if finished_step(run.checkpoints_path(stage)) is None:
      raise UserError(
        f"workdir {workdir} has not finished stage {stage}; accepted: a run that train.py finished"
      )
  dataset = load(config.dataset)
  hard_classes = read_hard_classes(run)
  validation, test = _collect(config, run, dataset, hard_classes, reporter)

  reporter.say(f"sweeping {config.evaluation.num_thresholds} thresholds")
  hard = is_hard(hard_classes, config.dataset.num_classes)
  systems = {
    name: curve(policy, config, validation, test, hard) for name, policy in policies(config).items()
  }
  context = Context.of(config, block_macs(build(config), config), hard, test)
  summary = {
    "dataset": config.dataset.name,
    "split": "test",
    "num_examples": context.num_images,
    "num_classes": config.dataset.num_classes,
    "hard_classes": hard_classes.tolist(),
    "systems": {name: summary_entry(context, line) for name, line in systems.items()},
  }
  out = run.eval_path
  write_json(out / "summary.json", summary)
  write_text(out / "operating_points.csv", operating_points_csv(systems, context))
  confusion = confusion_matrix(test.label, test.main.prediction, config.dataset.num_classes)
  pictures = draw_tradeoffs(out, systems, context)
  pictures.append(draw_confusion(out, confusion, dataset.class_names, hard_classes))
  write_text(out / "report.html", report_html(summary, dataset.class_names, pictures))
  reporter.console.print(terminal_table(summary))
  names = ", ".join(dataset.class_names[c] for c in hard_classes)
  reporter.say(f"hard classes: {names}")
  reporter.say(f"pictures and tables are in {workdir}/eval")


def _collect(
  config: Config, run: RunDirectory, dataset: Dataset, hard_classes: np.ndarray, reporter: Reporter
) -> tuple[Records, Records]:
  model = build(config)
  variables = replicate(load_variables(config, model, dataset, run, reporter.say))
  forward = ForwardPass(model, Exits.ALL, config.dataset, config.evaluation.batch_size)
  run.eval_path.mkdir(exist_ok=True)

  def collect(split: Split, name: str, file: str) -> Records:
    reporter.say(f"collecting records of {len(split)} {name} images")
    records = make_records(forward(variables, split.images), split, hard_classes)
    save_records(run.eval_path / file, records)
    return records

  return (
    collect(dataset.validation, "validation", "records_validation.npz"),
    collect(dataset.test, "test", "records.npz"),
  )
