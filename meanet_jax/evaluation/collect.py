"""A run's records: made by running its networks, or read again from its eval/ directory."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from meanet_jax.config.schema import Config
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import LabelledLogits
from meanet_jax.evaluation.records_file import RecordsFile, fingerprint, load_records, save_records
from meanet_jax.log import logger
from meanet_jax.models.meanet import Exits, MEANet, Outputs
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.rules import EXIT_NAMES
from meanet_jax.routing.scores import refuse_nan
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.losses import exit_logits
from meanet_jax.training.parallel import replicate
from meanet_jax.training.static import StaticNetwork, load_static


class StaticLogits(NamedTuple):
  """What a run's static network says about both splits, [n, c] each, and its MACs per image."""

  validation: Float[np.ndarray, "n c"]
  test: Float[np.ndarray, "m c"]
  macs: int


# Whether records that are there are read instead of running the networks: `never`, `if_valid` (they
# are complete, and of this run as it is now), or `always`, where others are refused.
Reuse = Literal["never", "if_valid", "always"]


class Collected(NamedTuple):
  """The logits of both splits; `static` is None for a run without such a network."""

  validation: LabelledLogits
  test: LabelledLogits
  static: StaticLogits | None = None


def collect(
  config: Config,
  run: RunDirectory,
  dataset: Dataset,
  hard_classes: HardClasses,
  variables: Variables,
  reuse: Reuse,
) -> Collected:
  """The logits of a finished run; writes them to its eval/ directory, or reads them there.

  Args:
    config: the run's.
    run: with all stages of its MEANet finished.
    dataset: the configuration's.
    hard_classes: the run's.
    variables: what the run has learned, of every block.
    reuse: whether the logits that are there are read instead of running the networks.

  Raises:
    UserError: NaN or infinite logits, a static network that is configured and has not been trained,
      or with `always` records that are missing, damaged, of another format or of another run.
  """
  splits = {"validation": dataset.validation, "test": dataset.test}
  paths = {
    "validation": run.eval_path / "records_validation.npz",
    "test": run.eval_path / "records.npz",
  }
  labels = {name: split.labels for name, split in splits.items()}
  static = load_static(config, dataset, run) if config.baselines.static else None
  beside = {} if static is None else {"static": static.variables["main"]}
  made_from = fingerprint(config, hard_classes, variables | beside, labels)
  # With the split's name, or the two files could change places.
  identity = {name: f"{name}-{made_from}" for name in splits}
  files = _existing(paths, identity, reuse)
  if files is None:
    logits = _logits(config, build(config), variables, splits)
    static_logits = _static_logits(static, config.evaluation.batch_size, splits)
    files = {
      name: RecordsFile(
        logits[name], labels[name], hard_classes, identity[name], static_logits.get(name)
      )
      for name in splits
    }
    run.eval_path.mkdir(exist_ok=True)
    for name, path in paths.items():
      save_records(path, files[name])
  both = {name: LabelledLogits(file.logits, file.labels) for name, file in files.items()}
  if static is None:
    return Collected(**both)
  found = {name: file.static for name, file in files.items()}
  return Collected(**both, static=StaticLogits(**found, macs=static.macs))


def _static_logits(
  static: StaticNetwork | None, batch_size: int, splits: dict[str, Split]
) -> dict[str, Float[np.ndarray, "n c"]]:
  """Those of the static network by split; none without one."""
  if static is None:
    return {}
  forward = ForwardPass(static.model, Exits.MAIN, static.config.dataset, batch_size, alone=True)
  on_devices = replicate(static.variables)
  logits = {}
  for name, split in splits.items():
    logits[name] = exit_logits(forward(on_devices, split), Exits.MAIN)
    refuse_nan("static", logits[name])
  return logits


def _existing(
  paths: dict[str, Path], identity: dict[str, str], reuse: Reuse
) -> dict[str, RecordsFile] | None:
  """Earlier records by split; None where the networks are to run."""
  if reuse == "never":
    return None
  try:
    files = {name: load_records(path, identity[name]) for name, path in paths.items()}
  except UserError:
    if reuse == "always":
      raise
    return None
  logger.info("reading records; no network runs")
  return files


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
    for exit, values in zip(EXIT_NAMES, logits[name], strict=True):
      refuse_nan(exit, values)
  return logits
