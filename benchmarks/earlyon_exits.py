"""earlyon 0.3.0 with its own exits on a static network of a run; writes earlyon_exits.md.

earlyon is of PyTorch, so it gets an environment of its own, in the checkout's root:

    python -m venv ENV && ENV/bin/pip install . earlyon==0.3.0
    ENV/bin/python -m benchmarks.earlyon_exits [--seeds 5]

The backbone is the static network of `python -m benchmarks.evidence`: main's structure, of the
edge's average MACs, over the same images, for as many epochs. Training, temperatures and thresholds
are earlyon's own functions; temperatures are fitted on the validation images that select,
thresholds on the others.
"""
# pyright: reportMissingImports=false

import argparse
import os
import platform
import sys

import numpy as np
import torch
from earlyon.core.thresholds import (
  calibrate_thresholds_for_budget,
  collect_head_logits,
  simulate_policy,
)
from earlyon.models import custom_ee
from earlyon.training import stage1_train_backbone, stage2_train_exits
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.evidence.page import spread
from benchmarks.evidence.runs import ROOT, evaluated_run
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer
from meanet_jax.config.networks import StructureConfig
from meanet_jax.config.ranges import Range
from meanet_jax.data.calibration_part import run_calibration_part
from meanet_jax.data.sources import load
from meanet_jax.files import write_text
from meanet_jax.models.costs import block_macs
from meanet_jax.models.zoo import build
from meanet_jax.training.static import static_config

CONFIG = "configs/digits.py"
BUDGETS = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the backbone's estimated compute
HIDDEN = 128  # of an exit's head, as earlyon has it


class Block(nn.Module):
  """ResNet's basic block, as `meanet_jax/models/resnet.py` has it."""

  def __init__(self, before: int, width: int, stride: int):
    super().__init__()
    self.body = nn.Sequential(
      nn.Conv2d(before, width, 3, stride, 1, bias=False),
      nn.BatchNorm2d(width),
      nn.ReLU(),
      nn.Conv2d(width, width, 3, 1, 1, bias=False),
      nn.BatchNorm2d(width),
    )
    shortcut = nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
    self.shortcut = nn.Sequential(*shortcut)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Its output for a batch."""
    return torch.relu(self.body(x) + self.shortcut(x))


class Augmented(Dataset):
  """Images shifted by at most a pixel, as `augment.pad_crop` 1 does."""

  def __init__(self, images: torch.Tensor, labels: torch.Tensor):
    self.images = nn.functional.pad(images, (1, 1, 1, 1), value=-1.0)
    self.labels, self.side = labels, images.shape[-1]

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    down, right = (int(torch.randint(3, ())) for _ in range(2))
    end = self.side
    return self.images[index, :, down : down + end, right : right + end], self.labels[index]


def backbone(structure: StructureConfig, classes: int) -> nn.Module:
  """A `conv3` stem and one block for each width."""
  blocks = [("stem", nn.Sequential(
    nn.Conv2d(1, structure.stem_width, 3, 1, 1, bias=False),
    nn.BatchNorm2d(structure.stem_width),
    nn.ReLU(),
  ))]  # fmt: skip
  before = structure.stem_width
  for number, (width, stride) in enumerate(zip(structure.widths, structure.strides, strict=True)):
    blocks.append((f"block{number + 1}", Block(before, width, stride)))
    before = width
  network = nn.Sequential()
  for name, module in blocks:
    network.add_module(name, module)
  network.add_module("pool", nn.AdaptiveAvgPool2d(1))
  network.add_module("flatten", nn.Flatten())
  network.add_module("head", nn.Linear(before, classes))
  return network


def measure(seed: int) -> dict[float, tuple[float, float]]:
  """Test accuracy and MACs per image, heads included, at every budget."""
  torch.manual_seed(seed)
  run = evaluated_run(CONFIG, seed, ())
  config = run.config()
  dataset = load(config.dataset)
  static = static_config(config, dataset, run)
  macs = block_macs(build(static), static.dataset.image_shape).main
  structure, recipe = static.model.main.structure, static.stages.main

  def tensors(split) -> tuple[torch.Tensor, torch.Tensor]:
    images = np.asarray(split.images, np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
    return torch.from_numpy(images), torch.from_numpy(split.labels.astype(np.int64))

  validation = tensors(dataset.validation)
  guarantee = torch.from_numpy(run_calibration_part(config, len(validation[1])))
  train = DataLoader(
    Augmented(*tensors(dataset.train)), batch_size=recipe.batch_size, shuffle=True, drop_last=True
  )
  temperature, threshold = (
    DataLoader(TensorDataset(*(part[mask] for part in validation)), batch_size=256)
    for mask in (~guarantee, guarantee)
  )
  test = DataLoader(TensorDataset(*tensors(dataset.test)), batch_size=256)

  def quiet(_: object) -> None:
    """earlyon's line after every epoch."""

  network = backbone(structure, config.dataset.num_classes)
  settings = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
  stage1_train_backbone(network, train, epochs=recipe.epochs, on_epoch_end=quiet, **settings)
  exits = ["stem", "block1"]
  model = custom_ee(
    network, exits, config.dataset.num_classes, input_shape=(1, 1, *config.dataset.image_shape[:2])
  )
  stage2_train_exits(model, train, on_epoch_end=quiet)
  widths = [structure.stem_width, structure.widths[0]]
  heads = np.array([HIDDEN * (width + config.dataset.num_classes) for width in widths])
  found = {}
  for budget in BUDGETS:
    calibrate_thresholds_for_budget(
      model, threshold, budget, fit_temperature=True, temperature_loader=temperature
    )
    at = simulate_policy(collect_head_logits(model, test, "cpu"), model)
    asked = np.where(model.config.enabled_exits, heads, 0)
    left = [at.exit_distribution.get(f"exit_{number}", 0.0) for number in range(len(exits))]
    reached = 1 - np.array([0.0, left[0]])  # the share of images that an exit's head sees
    found[budget] = at.accuracy, at.avg_flops_fraction * macs + float(asked @ reached)
  return found


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--seeds", Range(1), default=5, help="seeds 0, 1, ... to train")


def run(given: argparse.Namespace) -> None:
  """Trains every seed and writes the table."""
  found = [measure(seed) for seed in range(given.seeds)]
  lines = [
    f"# earlyon 0.3.0 on digits: {given.seeds} seeds",
    "",
    "Its exits after the stem and the first block of the static network that evidence.md compares "
    "with, without a cloud; made by `python -m benchmarks.earlyon_exits` in an environment of its "
    "own. Mean ± standard deviation over seeds on 629 test images; MACs count the heads of enabled "
    "exits, which earlyon's own estimate leaves out.",
    "",
    "| budget [backbone] | accuracy [%] | MMAC |",
    "|---|---|---|",
  ]
  for budget in BUDGETS:
    accuracy, macs = zip(*(one[budget] for one in found), strict=True)
    cells = spread([100 * a for a in accuracy], 2), spread([m / 1e6 for m in macs], 3)
    lines.append(f"| {budget:.0%} | {' | '.join(cells)} |")
  lines += [
    "",
    f"Hardware: CPU, {os.cpu_count()} cores; {platform.platform()}. Load average over 15 minutes "
    f"at the end: {os.getloadavg()[2]:.1f}. Versions: Python {platform.python_version()}, torch "
    f"{torch.__version__}, earlyon 0.3.0.",
    "",
  ]
  write_text(ROOT / "benchmarks" / "earlyon_exits.md", "\n".join(lines))
  print("\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
