"""The scores of a finished trial: the systems of summary.json, with figures on validation."""

import jax

from meanet_jax.cost.energy import BlockMacs
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.evaluation.pipeline import configured_constraints, threshold_images
from meanet_jax.evaluation.records import Temperatures, make_records
from meanet_jax.evaluation.study import fit_temperatures
from meanet_jax.evaluation.systems import Context, evaluate_systems, summary_entry
from meanet_jax.grid.trials import SCORES, Trial
from meanet_jax.models.meanet import Exits, Outputs
from meanet_jax.routing.hard_classes import is_hard
from meanet_jax.runs.directory import RunDirectory, write_json
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training.restore import read_hard_classes


def write_scores(trial: Trial, macs: BlockMacs) -> None:
  """Writes a trial's validation.json.

  Thresholds are chosen on validation as eval.py chooses them, and every figure is of the same
  split: good enough to compare trials with, and too good to quote, as a best one is.

  Args:
    trial: finished, with the logits of every exit.
    macs: of its blocks.

  Raises:
    UserError: a wish that cannot be tested.
  """
  config, run, split = trial.config, trial.context.run, trial.context.dataset.validation
  hard_classes = read_hard_classes(run)
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
    "stages": stage_accuracies(run),
    "systems": {name: summary_entry(context, line) for name, line in systems.items()},
  }
  write_json(run.path / SCORES, scores)


def stage_accuracies(run: RunDirectory) -> dict[str, float]:
  """The last validation accuracy of each stage, from metrics.jsonl."""
  lines = MetricsFile(run.metrics_path).read()
  return {
    line["stage"]: line["validation_accuracy"] for line in lines if "validation_accuracy" in line
  }
