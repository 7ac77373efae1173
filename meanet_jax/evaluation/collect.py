"""A run's records: made by running its networks, or read again from its eval/ directory."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import Config
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.evaluation.records import EXITS, Temperatures, make_records
from meanet_jax.evaluation.records_file import RecordsFile, fingerprint, load_records, save_records
from meanet_jax.evaluation.study import calibration, fit_temperatures
from meanet_jax.log import logger
from meanet_jax.models.meanet import Exits, MEANet, Outputs
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.policies import Records
from meanet_jax.routing.scores import refuse_nan
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.restore import load_variables


class Collected(NamedTuple):
  """Records of both splits, and the calibration of every exit on the test split."""

  validation: Records
  test: Records
  calibration: dict[str, Any]


def collect(
  config: Config,
  run: RunDirectory,
  dataset: Dataset,
  hard_classes: Int[np.ndarray, " k"],
  reuse: bool,
) -> Collected:
  """The records of a finished run; writes them to its eval/ directory, or reads them there.

  Args:
    config: the run's.
    run: with all stages finished.
    dataset: the configuration's.
    hard_classes: the run's.
    reuse: read the records that are there instead of running the networks.

  Raises:
    UserError: NaN or infinite logits, or with `reuse` records that are missing, damaged or of
      another run.
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
  if reuse:
    logger.info("reading records; no network runs")
    files = {name: load_records(path, identity[name]) for name, path in paths.items()}
  else:
    logits = _logits(config, model, variables, splits)
    files = _records(config, logits, splits, hard_classes, identity)
    run.eval_path.mkdir(exist_ok=True)
    for name, path in paths.items():
      save_records(path, files[name])
  test = files["test"]
  return Collected(files["validation"].records, test.records, test.calibration)


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


def _records(
  config: Config,
  logits: dict[str, Outputs],
  splits: dict[str, Split],
  hard_classes: Int[np.ndarray, " k"],
  identity: dict[str, str],
) -> dict[str, RecordsFile]:
  labels = splits["validation"].labels
  # A temperature is a choice too: images that carry a guarantee take no part in it.
  fraction, seed = config.evaluation.calibration_fraction, config.dataset.split_seed
  fits = ~calibration_part(len(labels), fraction, seed)
  on_validation = jax.tree.map(lambda values: values[fits], logits["validation"])
  temperatures = fit_temperatures(on_validation, labels[fits], hard_classes)
  applied = temperatures if config.routing.calibrate else Temperatures()
  return {
    name: RecordsFile(
      make_records(logits[name], split, hard_classes, applied),
      identity[name],
      calibration(logits[name], split.labels, hard_classes, temperatures),
    )
    for name, split in splits.items()
  }
