"""MEANet "B" on ImageNet: torchvision's ResNet-18 as main block, its ResNet-101 in the cloud.

Command   python train.py --config configs/imagenet_resnet18_b.py --workdir runs/resnet18 \\
            --config.model.main.pretrained=resnet18.pth \\
            --config.model.cloud.pretrained=resnet101.pth
          Main block and cloud are torchvision's pretrained networks and are not trained further
          (0 epochs); give the paths of their state dicts. To fine-tune, set their epochs.
Hardware  a TPU slice or several GPUs; batch sizes are global and split over its devices.
Recipe    edge: SGD, momentum 0.9, weight decay 1e-4, batch 256, 110 epochs, learning rate 0.01,
          times 0.1 at epochs 30 and 60; random resized crop 224 and flip (the authors' code).
Measured  cost alone: meanet summary --config configs/imagenet_resnet18_b.py
          Accuracy, time and energy of a training run: not measured; ImageNet could not be obtained
          where this was written. torchvision publishes 69.758% for ResNet-18 alone.
"""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


def get_config() -> ConfigDict:
  """The experiment."""
  config = default_config()
  config.dataset.name = "imagenet2012"
  config.dataset.image_shape = (224, 224, 3)
  config.dataset.num_classes = 1000
  # The public validation images test; validation is carved from the training images.
  config.dataset.test_split = "validation"
  config.dataset.validation_fraction = 0.02
  config.dataset.mean, config.dataset.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

  config.model.main.name = "resnet18"
  config.model.main.pretrained = "weights/resnet18.pth"
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv7_pool", 64
  adaptive.depths, adaptive.widths = (1, 1, 1, 1), (64, 128, 256, 512)
  adaptive.strides = (1, 2, 2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (4,), (512,), (1,)
  config.model.cloud.name = "resnet101"
  config.model.cloud.pretrained = "weights/resnet101.pth"

  stages = config.stages
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.epochs, stage.batch_size, stage.learning_rate = 0, 256, 0.01
    stage.schedule, stage.step_epochs, stage.step_factor = "step", (30, 60), 0.1
    stage.augment.random_resized_crop, stage.augment.flip = True, True
  stages.edge.epochs = 110
  config.evaluation.batch_size = 256
  # The ImageNet scripts of the authors take the more confident of the two edge exits.
  config.routing.policy, config.routing.edge_rule = "configured", "most_confident"
  # Half of the validation images select hard classes; the rest can carry a guarantee.
  config.evaluation.calibration_fraction = 0.5
  return config
