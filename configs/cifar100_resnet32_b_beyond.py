"""MEANet "B" on CIFAR-100, with our recipe instead of the paper's.

Command   python train.py --config cifar100_resnet32_b_beyond --workdir runs/cifar100_b_beyond
Hardware  as for the paper's; the stage edge learns from all images instead of half.
Recipe    that of cifar100_resnet32_b, changed by meanet_jax/config/beyond.py: an extension of all
          classes whose adaptive block has to learn; the policy selected on validation.
Measured  not measured; the data set could not be obtained where this was written.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from meanet_jax.config.beyond import beyond_paper

_PAPER = Path(__file__).with_name("cifar100_resnet32_b.py")


def get_config() -> ConfigDict:
  """The experiment."""
  return beyond_paper(runpy.run_path(str(_PAPER))["get_config"]())
