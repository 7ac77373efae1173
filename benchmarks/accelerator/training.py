"""Training steps of the paper's networks: ours, and a plain one of Flax's modules."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.accelerator.measure import Calls, program_figures, rounds
from benchmarks.accelerator.record import PartContext
from benchmarks.bare_step import BareStep, Case
from benchmarks.plain_resnet18 import lower_plain_step
from configs import cifar100_resnet32_b, imagenet_mobilenet_v2_b, imagenet_resnet18_b
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.data.batches import left_for_device
from meanet_jax.data.splits import ArraySplit
from meanet_jax.training import stages
from tests.experiments import tiny_config

DTYPES = ("bfloat16", "float32")
PLAIN = "plain Flax step"


class Work(NamedTuple):
  """A network's stage.

  network: on the page. config: makes the experiment's. batch: images. plain: whether the plain
  ResNet-18 is its equal.
  """

  network: str
  config: Callable[[], ConfigDict]
  stage: stages.Stage
  batch: int
  plain: bool = False


# What the targets need first.
WORKS = (
  Work("ResNet-18", imagenet_resnet18_b.get_config, stages.MAIN, 256, plain=True),
  Work("ResNet-32", cifar100_resnet32_b.get_config, stages.MAIN, 128),
  Work("ResNet-32", cifar100_resnet32_b.get_config, stages.MAIN, 1024),
  Work("MobileNetV2", imagenet_mobilenet_v2_b.get_config, stages.MAIN, 128),
  Work("ResNet-101, cloud", imagenet_resnet18_b.get_config, stages.CLOUD, 256),
)


REHEARSED = (Work("tiny network", tiny_config, stages.MAIN, 4, plain=True),)


def run(context: PartContext) -> None:
  """Times every step, bfloat16 first."""
  for dtype in DTYPES:
    for work in REHEARSED if context.rehearsal else WORKS:
      try:
        for row in rows(work, dtype, context.rehearsal):
          context.record.add(**row)
      except jax.errors.JaxRuntimeError as error:  # too large for this card: the others go on
        reason = str(error).partition("\n")[0][:200]
        context.record.add(kind="failed", network=work.network, dtype=dtype, reason=reason)


def experiment(work: Work, dtype: str) -> Config:
  """The configuration at a batch size, with what of the augmentation is the device's."""
  config = resolve(work.config())
  stage = dataclasses.replace(
    config.stage(work.stage.name),
    batch_size=work.batch,
    epochs=1,
    schedule="constant",
    step_epochs=(),
  )
  if config.dataset.image_shape[0] > 32:  # ImageNet's images are streamed
    stage = dataclasses.replace(stage, augment=left_for_device(stage.augment))
  return dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, compute_dtype=dtype),
    stages=dataclasses.replace(config.stages, **{work.stage.name: stage}),
  )


def noise(config: Config, count: int, classes: int | None = None) -> ArraySplit:
  """Made-up images of a configuration's shape."""
  rng = np.random.default_rng(0)
  images = rng.integers(256, size=(count, *config.dataset.image_shape), dtype=np.uint8)
  labels = rng.integers(classes or config.dataset.num_classes, size=count)
  return ArraySplit(images, labels.astype(np.int32))


def rows(work: Work, dtype: str, rehearsal: bool) -> Iterator[dict[str, Any]]:
  """Our step; for ResNet-18 the plain one as well, timed in turn with ours."""
  config = experiment(work, dtype)
  ours = BareStep(Case(work.network, config, noise(config, 2 * work.batch)), work.stage)
  timed: dict[str, BareStep | Calls] = {"ours": ours}
  if work.plain and not (rehearsal and dtype == "float32"):  # which compiles for long on CPU
    timed[PLAIN] = Calls(lower_plain_step(config, work.batch, jax.local_devices()[:1]))
  length, repeats = (0.01, 1) if rehearsal else (0.5, 5)
  found = rounds({name: step.seconds for name, step in timed.items()}, length, repeats)
  for name, step in timed.items():
    yield {
      "kind": "step",
      "implementation": name,
      "network": work.network,
      "stage": work.stage.name,
      "batch": work.batch,
      "dtype": dtype,
      "seconds": found[name],
      "images_per_second": work.batch / found[name],
      "compile_seconds": step.compile_seconds,
      **program_figures(step.compiled, found[name], dtype),
    }
