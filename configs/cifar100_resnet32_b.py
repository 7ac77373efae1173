"""MEANet "B" on CIFAR-100: all of ResNet-32 as main block, ResNet-101 in the cloud.

Command   python train.py --config configs/cifar100_resnet32_b.py --workdir runs/cifar100_b
Hardware  one GPU or TPU host; batch sizes are global and split over its devices.
Recipe    SGD, momentum 0.9, weight decay 1e-4, batch 128, 180 epochs, learning rate 0.1, times 0.1
          at epochs 60, 120 and 160; pad 4, crop, flip (the authors' code). The same for the cloud,
          whose recipe is not published.
Measured  cost alone: meanet summary --config configs/cifar100_resnet32_b.py
          Accuracy, time and energy of a training run: not measured; CIFAR-100 could not be
          obtained where this was written. A plain ResNet-32 of this shape reaches 70.16%
          elsewhere (chenyaofo/pytorch-cifar-models).
"""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


def get_config() -> ConfigDict:
  """The experiment."""
  config = default_config()
  config.dataset.name = "cifar100"
  config.dataset.image_shape = (32, 32, 3)
  config.dataset.num_classes = 100

  config.model.main.name = "resnet32"
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3", 16
  adaptive.depths, adaptive.widths, adaptive.strides = (1, 1, 1), (16, 32, 64), (1, 2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (4,), (64,), (1,)
  config.model.cloud.name = "resnet101_cifar"

  stages = config.stages
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.epochs, stage.batch_size, stage.learning_rate = 180, 128, 0.1
    stage.schedule, stage.step_epochs, stage.step_factor = "step", (60, 120, 160), 0.1
    stage.augment.pad_crop, stage.augment.flip = 4, True
  config.routing.policy = "configured"  # the paper's, which every field is by default
  # Half of the validation images select hard classes; the rest can carry a guarantee.
  config.evaluation.calibration_fraction = 0.5
  return config
