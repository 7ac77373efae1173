"""A finished run's cloud model, compiled for a few batch sizes on all devices."""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Shaped, UInt8

from meanet_jax.config.schema import Config
from meanet_jax.data.padding import bucket_sizes, padded
from meanet_jax.errors import UserError
from meanet_jax.files import read_json
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.protocol import CLASS, LOGITS, PROBABILITY
from meanet_jax.routing.scores import softmax
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.losses import exit_logits
from meanet_jax.training.parallel import map_forward, replicate, shard
from meanet_jax.training.restore import load_cloud
from meanet_jax.training.steps import make_forward


@dataclasses.dataclass(frozen=True)
class CloudRun:
  """What a run says about its cloud. variables: of the block `cloud`, on the host."""

  config: Config
  class_names: tuple[str, ...]
  variables: Variables


def read_run(workdir: str | Path) -> CloudRun:
  """Reads a run, but no data set: the machine that serves has none.

  Args:
    workdir: the run.

  Raises:
    UserError: no run, one of another format or whose cloud has not finished, or a data.json that
      meanet train did not write.
  """
  run = RunDirectory.existing(workdir)
  config = run.config()
  if not run.data_path.is_file():
    raise UserError(
      f"workdir {workdir} has not begun training; accepted: a run that meanet train finished"
    )
  data = read_json(run.data_path)
  match data:
    case {"class_names": list(names), "splits": {"train": {"num_examples": int(num_train)}}}:
      if len(names) != config.dataset.num_classes or not all(isinstance(n, str) for n in names):
        raise UserError(
          f"{run.data_path} has {len(names)} entries in class_names; "
          f"accepted: the names of config.json's {config.dataset.num_classes} classes"
        )
    case _:
      raise UserError(
        f"{run.data_path} has no list class_names or no number splits.train.num_examples; "
        "accepted: the file that meanet train wrote"
      )
  variables = load_cloud(config, build(config), run, num_train)
  return CloudRun(config, tuple(names), variables)


class CloudModel:
  """The protocol's outputs for any number of images, by the smallest compiled batch of them."""

  def __init__(self, run: CloudRun, max_batch: int):
    """Compiles every batch size, which takes seconds to minutes, and times it (`seconds`).

    Args:
      run: whose cloud.
      max_batch: the largest batch; rounded up to a multiple of the number of devices.
    """
    self.sizes = batch_sizes(max_batch, jax.local_device_count())
    self._variables = replicate(run.variables)
    dataset = run.config.dataset
    self._mapped = map_forward(make_forward(build(run.config), Exits.CLOUD, dataset))
    images = np.zeros((self.sizes[-1], *dataset.image_shape), np.uint8)
    for size in self.sizes:
      self(images[:size])
    self.seconds = {
      size: min(_seconds(self, images[:size]) for _ in range(3)) for size in self.sizes
    }

  def __call__(
    self, images: UInt8[np.ndarray, "n h w c"]
  ) -> dict[str, Shaped[np.ndarray, "n ..."]]:
    """Class, probability and logits (`protocol.py`) of 1 to `sizes[-1]` images."""
    size = next(size for size in self.sizes if size >= len(images))
    batch, real = padded(images, size)
    outputs = self._mapped(self._variables, shard(batch))
    logits = np.asarray(exit_logits(outputs, Exits.CLOUD))[:real]
    return {
      CLASS: logits.argmax(axis=-1).astype(np.int32),
      PROBABILITY: softmax(logits).max(axis=-1),
      LOGITS: logits,
    }


def _seconds(model: CloudModel, images: UInt8[np.ndarray, "n h w c"]) -> float:
  begun = time.perf_counter()
  model(images)
  return time.perf_counter() - begun


def batch_sizes(max_batch: int, devices: int) -> list[int]:
  """The compiled sizes: the number of devices, doubled up to `max_batch`, which is the last.

  Args:
    max_batch: at least 1.
    devices: every size is a multiple of them.
  """
  return [devices * share for share in bucket_sizes(-(-max_batch // devices))]
