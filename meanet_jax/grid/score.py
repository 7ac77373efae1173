"""The scores of a finished trial: the systems of summary.json, with figures on validation."""

from meanet_jax.cost.energy import BlockMacs
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.evaluate import threshold_images
from meanet_jax.evaluation.policy_selection import select_policy
from meanet_jax.evaluation.records import LabelledLogits
from meanet_jax.evaluation.systems import evaluate_systems, summary_entry
from meanet_jax.files import write_json
from meanet_jax.grid.trials import SCORES, Trial
from meanet_jax.models.meanet import Exits, Outputs
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training.restore import load_hard_classes


def write_scores(trial: Trial, macs: BlockMacs) -> None:
  """Writes a trial's validation.json.

  Thresholds are selected on validation as meanet eval selects them, and every figure is of the same
  split: good enough to compare trials with, and too good to quote, as a best one is.

  Args:
    trial: finished, with the logits of every exit.
    macs: of its blocks.

  Raises:
    UserError: constraints that cannot be tested.
  """
  config, run, split = trial.config, trial.context.run, trial.context.dataset.validation
  hard_classes = load_hard_classes(config, run)
  logits = Outputs(
    trial.logits[Exits.MAIN], trial.logits[Exits.EXTENSION], trial.logits[Exits.CLOUD]
  )
  validation = LabelledLogits(logits, split.labels)
  constraints = config.evaluation.constraints
  selects = threshold_images(config, constraints, len(split))
  context = Context.of(config, macs, hard_classes, split.labels)
  policy = select_policy(context, validation, constraints)
  selecting = validation.of(selects)
  systems = evaluate_systems(policy.system, context, selecting, validation, constraints)
  scores = {
    "split": "validation",
    "num_examples": len(split),
    "stages": stage_accuracies(run),
    "policies": policy.to_json(),
    "systems": {name: summary_entry(context, curve) for name, curve in systems.items()},
  }
  write_json(run.path / SCORES, scores)


def stage_accuracies(run: RunDirectory) -> dict[str, float]:
  """The last validation accuracy of each stage, from metrics.jsonl."""
  lines = MetricsFile(run.metrics_path).read()
  return {
    line["stage"]: line["validation_accuracy"] for line in lines if "validation_accuracy" in line
  }
