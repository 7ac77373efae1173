"""The scores of a finished trial: the systems of summary.json, with figures on validation."""

import jax

from meanet_jax.cost.energy import BlockMacs
from meanet_jax.evaluation.collect import fitted_of, temperatures_of
from meanet_jax.evaluation.evaluate import threshold_images
from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.systems import Context, evaluate_systems, summary_entry
from meanet_jax.grid.trials import SCORES, Trial
from meanet_jax.models.meanet import Exits, Outputs
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import write_json
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training.restore import read_hard_classes


def write_scores(trial: Trial, macs: BlockMacs) -> None:
  """Writes a trial's validation.json.

  Thresholds are selected on validation as eval.py selects them, and every figure is of the same
  split: good enough to compare trials with, and too good to quote, as a best one is.

  Args:
    trial: finished, with the logits of every exit.
    macs: of its blocks.

  Raises:
    UserError: constraints that cannot be tested.
  """
  config, run, split = trial.config, trial.context.run, trial.context.dataset.validation
  hard_classes = HardClasses(read_hard_classes(run), config.dataset.num_classes)
  logits = Outputs(
    trial.logits[Exits.MAIN], trial.logits[Exits.EXTENSION], trial.logits[Exits.CLOUD]
  )
  temperatures = Temperatures()
  if config.routing.calibrate:
    temperatures = temperatures_of(config, logits, split.labels, hard_classes)
  fitted = fitted_of(config, logits, split.labels, hard_classes, temperatures)
  records = make_records(logits, split.labels, hard_classes, temperatures, fitted.fusion)
  constraints = config.evaluation.constraints
  selects = threshold_images(config, constraints, len(split))
  selecting = jax.tree.map(lambda values: values[selects], records)
  context = Context.of(config, macs, hard_classes, records, fitted)
  systems = evaluate_systems(context, selecting, records, constraints)
  scores = {
    "split": "validation",
    "num_examples": len(split),
    "stages": stage_accuracies(run),
    "systems": {name: summary_entry(context, curve) for name, curve in systems.items()},
  }
  write_json(run.path / SCORES, scores)


def stage_accuracies(run: RunDirectory) -> dict[str, float]:
  """The last validation accuracy of each stage, from metrics.jsonl."""
  lines = MetricsFile(run.metrics_path).read()
  return {
    line["stage"]: line["validation_accuracy"] for line in lines if "validation_accuracy" in line
  }
