"""A run's records: made by running its networks, or read again from its eval/ directory."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from meanet_jax.config.schema import Config
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.evaluation.fitting import Fitted, fit_policy
from meanet_jax.evaluation.records import EXITS, make_records
from meanet_jax.evaluation.records_file import RecordsFile, fingerprint, load_records, save_records
from meanet_jax.evaluation.study import calibration, fit_temperatures
from meanet_jax.evaluation.systems import policies
from meanet_jax.log import logger
from meanet_jax.models.meanet import Exits, MEANet, Outputs
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import Records
from meanet_jax.routing.scores import refuse_nan
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.restore import load_variables


class Collected(NamedTuple):
  """Records of both splits, and the calibration of every exit on the test split.

  fitted: on validation; the records' logits were divided by its temperatures.
  """

  validation: Records
  test: Records
  fitted: Fitted
  calibration: dict[str, Any]


def collect(
  config: Config,
  run: RunDirectory,
  dataset: Dataset,
  hard_classes: HardClasses,
  reuse: bool,
) -> Collected:
  """The records of a finished run; writes logits to its eval/ directory, or reads them there.

  Args:
    config: the run's.
    run: with all stages finished.
    dataset: the configuration's.
    hard_classes: the run's.
    reuse: read the logits that are there instead of running the networks.

  Raises:
    UserError: NaN or infinite logits, or with `reuse` records that are missing, damaged, of another
      format or of another run.
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
    logits = {name: load_records(path, identity[name]).logits for name, path in paths.items()}
  else:
    logits = _logits(config, model, variables, splits)
    run.eval_path.mkdir(exist_ok=True)
    for name, path in paths.items():
      save_records(path, RecordsFile(logits[name], labels[name], hard_classes, identity[name]))
  return _collected(config, logits, labels, hard_classes)


def temperatures_of(
  config: Config,
  logits: Outputs,
  labels: Int[np.ndarray, " n"],
  hard_classes: HardClasses,
) -> Temperatures:
  """Each exit's temperature, fitted on the validation images that select.

  A temperature is selected too: images that carry a guarantee take no part in it.

  Args:
    config: the run's.
    logits, labels: of the validation split.
    hard_classes: the run's.
  """
  fits = _selecting(config, len(labels))
  on_fits = jax.tree.map(lambda values: values[fits], logits)
  return fit_temperatures(on_fits, labels[fits], hard_classes)


def fitted_of(
  config: Config,
  logits: Outputs,
  labels: Int[np.ndarray, " n"],
  hard_classes: HardClasses,
  temperatures: Temperatures,
) -> Fitted:
  """What MEANet's policy needs beside thresholds, fitted on the validation images that select.

  Args:
    config: the run's.
    logits, labels: of the validation split.
    hard_classes: the run's.
    temperatures: applied to the logits first.
  """
  fits = _selecting(config, len(labels))
  on_fits = jax.tree.map(lambda values: values[fits], logits)
  policy, share = policies(config)["meanet"], config.routing.run_share
  return fit_policy(policy, on_fits, labels[fits], hard_classes, temperatures, share)


def _selecting(config: Config, count: int) -> Bool[np.ndarray, " n"]:
  fraction, seed = config.evaluation.calibration_fraction, config.dataset.split_seed
  return ~calibration_part(count, fraction, seed)


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


def _collected(
  config: Config,
  logits: dict[str, Outputs],
  labels: dict[str, Int[np.ndarray, " n"]],
  hard_classes: HardClasses,
) -> Collected:
  on_validation = (config, logits["validation"], labels["validation"], hard_classes)
  temperatures = temperatures_of(*on_validation)
  applied = temperatures if config.routing.calibrate else Temperatures()
  fitted = fitted_of(*on_validation, applied)
  validation, test = (
    make_records(logits[name], labels[name], hard_classes, applied, fitted.fusion)
    for name in ("validation", "test")
  )
  calibrated = calibration(logits["test"], labels["test"], hard_classes, temperatures)
  return Collected(validation, test, fitted, calibrated)
