"""What a finished point is worth: the systems of summary.json, with figures on validation."""

from typing import Any

import jax

from meanet_jax.cost.energy import BlockMacs
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.splits import Dataset
from meanet_jax.evaluation.pipeline import configured_constraints, threshold_images
from meanet_jax.evaluation.records import Temperatures, make_records
from meanet_jax.evaluation.study import fit_temperatures
from meanet_jax.evaluation.systems import Context, evaluate_systems, summary_entry
from meanet_jax.grid.trials import SCORES, Trial
from meanet_jax.models.meanet import Exits, Outputs
from meanet_jax.routing.hard_classes import is_hard
from meanet_jax.runs.files import read_json, write_json
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training.pipeline import read_hard_classes


def write_scores(trial: Trial, dataset: Dataset, macs: BlockMacs) -> None:
  """Writes a point's validation.json.

  Thresholds are chosen on validation as eval.py chooses them, and every figure is of the same
  split: good enough to compare points with, and too good to quote, as a best one is.

  Args:
    member: finished, with the logits of every exit.
    dataset: what it learned from.
    macs: of its blocks.

  Raises:
    UserError: a wish that cannot be tested.
  """
  config, split = trial.config, dataset.validation
  hard_classes = read_hard_classes(trial.run)
  logits = Outputs(
    trial.logits[Exits.MAIN], trial.logits[Exits.EXTENSION], trial.logits[Exits.CLOUD]
  )
  temperatures = Temperatures()
  if config.routing.calibrate:
    fraction, seed = config.evaluation.calibration_fraction, config.dataset.split_seed
    fits = ~calibration_part(len(split), fraction, seed)
    on_fits = jax.tree.map(lambda values: values[fits], logits)
    temperatures = fit_temperatures(on_fits, split.labels[fits], hard_classes)
  records = make_records(logits, split, hard_classes, temperatures)
  constraints = configured_constraints(config)
  chooses = threshold_images(config, constraints, len(split))
  choosing = jax.tree.map(lambda values: values[chooses], records)
  hard = is_hard(hard_classes, config.dataset.num_classes)
  systems = evaluate_systems(config, macs, hard, choosing, records, constraints)
  context = Context.of(config, macs, hard, records)
  scores = {
    "split": "validation",
    "num_examples": len(split),
    "stages": stage_accuracies(trial),
    "systems": {name: summary_entry(context, line) for name, line in systems.items()},
  }
  write_json(trial.run.path / SCORES, scores)


def read_scores(trial: Trial) -> dict[str, Any]:
  """A scored point's validation.json."""
  return read_json(trial.run.path / SCORES)


def stage_accuracies(trial: Trial) -> dict[str, float]:
  """The last validation accuracy of each stage, from metrics.jsonl."""
  lines = MetricsFile(trial.run.metrics_path).read()
  return {
    line["stage"]: line["validation_accuracy"] for line in lines if "validation_accuracy" in line
  }
