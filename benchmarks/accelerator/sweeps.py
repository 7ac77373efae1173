"""The threshold sweep and the selection of a policy over an ImageNet-sized validation split."""

import dataclasses
import time

import numpy as np

from benchmarks.accelerator.record import PartContext
from benchmarks.sweep import CHUNK, FIXED, made_up_logits, median, records, vmapped
from configs import imagenet_resnet18_b
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.policy_selection import select_policy
from meanet_jax.evaluation.records import LabelledLogits
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import PRESETS, Policy
from meanet_jax.routing.rules import Records
from meanet_jax.selection.sweep import threshold_grid

# Of ResNet-18 on ImageNet, about; what an image costs takes no part in the time.
MACS = BlockMacs(1_800_000_000, 2_000_000_000, 7_800_000_000)

# Thresholds at once: the package's own number, which suits a CPU's cache, and larger ones.
CHUNKS = (CHUNK, 128, 1024)


def run(context: PartContext) -> None:
  """The sweep, which has a target, and then the selection."""
  images, classes, points = (500, 20, 101) if context.rehearsal else (50_000, 1000, 10_001)
  known = HardClasses(np.arange(classes // 2), classes)
  made = records(images, known)
  for chunk in CHUNKS:
    context.record.add(**sweep_row(made, known, points, chunk))
  context.record.add(**selection_row(images, known))


def sweep_row(made: Records, known: HardClasses, points: int, chunk: int) -> dict[str, object]:
  """Seconds of the paper's policy at evenly spaced thresholds, its arrays on the device."""
  grid = threshold_grid(Policy(), known, FIXED, points)
  call = vmapped(PRESETS["paper"], grid, made, known.mask, chunk)
  return {
    "kind": "sweep",
    "images": len(made.label),
    "classes": known.num_classes,
    "thresholds": points,
    "chunk": chunk,
    "seconds": median(call),
  }


def selection_row(images: int, known: HardClasses) -> dict[str, object]:
  """Seconds of `routing.policy=auto` over the family, from logits on the host."""
  label, logits = made_up_logits(images, known.num_classes, len(known.numbers))
  context = Context.of(experiment(known.num_classes), MACS, known, label)
  begun = time.perf_counter()
  selected = select_policy(context, LabelledLogits(logits, label), Constraints(max_offload=0.1))
  return {
    "kind": "selection",
    "images": images,
    "classes": known.num_classes,
    "policies": len(selected.members),
    "seconds": time.perf_counter() - begun,
  }


def experiment(classes: int) -> Config:
  """ImageNet's, with every validation image for the selection."""
  config = resolve(imagenet_resnet18_b.get_config())
  return dataclasses.replace(
    config,
    dataset=dataclasses.replace(config.dataset, num_classes=classes),
    routing=dataclasses.replace(config.routing, policy="auto"),
    evaluation=dataclasses.replace(config.evaluation, calibration_fraction=0.0),
  )
