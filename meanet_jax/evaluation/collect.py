"""A run's records: made by running its networks, or read again from its eval/ directory."""

from pathlib import Path
from typing import Literal, NamedTuple

from meanet_jax.config.schema import Config
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import EXITS, LabelledLogits
from meanet_jax.evaluation.records_file import RecordsFile, fingerprint, load_records, save_records
from meanet_jax.log import logger
from meanet_jax.models.meanet import Exits, MEANet, Outputs
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.scores import refuse_nan
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.restore import load_variables

# Whether records that are there are read instead of running the networks: `never`, `if_valid` (they
# are complete, and of this run as it is now), or `always`, where others are refused.
Reuse = Literal["never", "if_valid", "always"]


class Collected(NamedTuple):
  """The logits of both splits."""

  validation: LabelledLogits
  test: LabelledLogits


def collect(
  config: Config,
  run: RunDirectory,
  dataset: Dataset,
  hard_classes: HardClasses,
  reuse: Reuse,
) -> Collected:
  """The logits of a finished run; writes them to its eval/ directory, or reads them there.

  Args:
    config: the run's.
    run: with all stages finished.
    dataset: the configuration's.
    hard_classes: the run's.
    reuse: whether the logits that are there are read instead of running the networks.

  Raises:
    UserError: NaN or infinite logits, or with `always` records that are missing, damaged, of
      another format or of another run.
  """
  model = build(config)
  variables = load_variables(config, model, dataset, run)
  splits = {"validation": dataset.validation, "test": dataset.test}
  paths = {
    "validation": run.eval_path / "records_validation.npz",
    "test": run.eval_path / "records.npz",
  }
  labels = {name: split.labels for name, split in splits.items()}
  made_from = fingerprint(config, hard_classes, variables, labels)
  # With the split's name, or the two files could change places.
  identity = {name: f"{name}-{made_from}" for name in splits}
  logits = _existing(paths, identity, reuse)
  if logits is None:
    logits = _logits(config, model, variables, splits)
    run.eval_path.mkdir(exist_ok=True)
    for name, path in paths.items():
      save_records(path, RecordsFile(logits[name], labels[name], hard_classes, identity[name]))
  return Collected(**{name: LabelledLogits(logits[name], labels[name]) for name in splits})


def _existing(
  paths: dict[str, Path], identity: dict[str, str], reuse: Reuse
) -> dict[str, Outputs] | None:
  """The logits of earlier records by split; None where the networks are to run."""
  if reuse == "never":
    return None
  try:
    logits = {name: load_records(path, identity[name]).logits for name, path in paths.items()}
  except UserError:
    if reuse == "always":
      raise
    return None
  logger.info("reading records; no network runs")
  return logits


def _logits(
  config: Config,
  model: MEANet,
  variables: Variables,
  splits: dict[str, Split],
) -> dict[str, Outputs]:
  batch_size = config.evaluation.batch_size
  forward = ForwardPass(model, Exits.ALL, config.dataset, batch_size, alone=True)
  on_devices = replicate(variables)
  logits = {}
  for name, split in splits.items():
    logger.info(f"collecting logits of {len(split)} {name} images")
    logits[name] = forward(on_devices, split)
    for exit, values in zip(EXITS, logits[name], strict=True):
      refuse_nan(exit, values)
  return logits
