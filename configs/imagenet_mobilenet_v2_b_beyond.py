"""MEANet "B" with MobileNetV2 on ImageNet, with our recipe instead of the paper's.

Command   python train.py --config imagenet_mobilenet_v2_b_beyond --workdir runs/mobilenet_v2 \\
            --config.model.main.pretrained=MAIN.pth --config.model.cloud.pretrained=CLOUD.pth
Hardware  as for the paper's; the stage edge learns from all images instead of half.
Recipe    that of imagenet_mobilenet_v2_b, changed by meanet_jax/config/beyond.py: an extension of
          all classes whose adaptive block has to learn; the policy selected on validation.
Measured  not measured; the data set could not be obtained where this was written.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from meanet_jax.config.beyond import beyond_paper

_PAPER = Path(__file__).with_name("imagenet_mobilenet_v2_b.py")


def get_config() -> ConfigDict:
  """The experiment."""
  return beyond_paper(runpy.run_path(str(_PAPER))["get_config"]())
