"""MEANet "B" on ImageNet: torchvision's MobileNetV2 as main block, its ResNet-101 in the cloud.

The extension sees the 320 channels before MobileNetV2's last 1x1 convolution. The adaptive block
has MobileNetV2's stages with expansion 1 throughout.

Command   python train.py --config configs/imagenet_mobilenet_v2_b.py --workdir runs/mobilenet \\
            --config.model.main.pretrained=mobilenet_v2.pth \\
            --config.model.cloud.pretrained=resnet101.pth
          Main block and cloud are torchvision's pretrained networks and are not trained further
          (0 epochs); give the paths of their state dicts. To fine-tune, set their epochs.
Hardware  a TPU slice or several GPUs; batch sizes are global and split over its devices.
Recipe    edge: SGD, momentum 0.9, weight decay 1e-4, batch 128, 180 epochs, learning rate 0.01,
          times 0.1 at epochs 30, 60 and 110; random resized crop 224 and flip (the authors' code).
Measured  cost alone, by meanet summary --config with this file.
          Accuracy, time and energy of a training run: not measured; ImageNet could not be obtained
          where this was written. torchvision publishes 71.878% for MobileNetV2 alone.
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

  config.model.main.name = "mobilenet_v2"
  config.model.main.dropout = 0.2
  config.model.main.pretrained = "weights/mobilenet_v2.pth"
  adaptive = config.model.adaptive
  adaptive.block, adaptive.stem, adaptive.stem_width = "inverted", "conv3_stride2", 32
  adaptive.depths = (1, 2, 3, 4, 3, 3, 1)
  adaptive.widths = (16, 24, 32, 64, 96, 160, 320)
  adaptive.strides = (1, 2, 2, 2, 1, 2, 1)
  adaptive.expansions = (1, 1, 1, 1, 1, 1, 1)
  extension = config.model.extension
  extension.block = "inverted"
  extension.depths, extension.widths, extension.strides = (1, 1), (320, 320), (1, 1)
  extension.expansions, extension.final_width = (1, 3), 1280
  config.model.cloud.name = "resnet101"
  config.model.cloud.pretrained = "weights/resnet101.pth"

  stages = config.stages
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.epochs, stage.batch_size, stage.learning_rate = 0, 128, 0.01
    stage.schedule, stage.step_epochs, stage.step_factor = "step", (30, 60, 110), 0.1
    stage.augment.random_resized_crop, stage.augment.flip = True, True
  stages.edge.epochs = 180
  # The ImageNet scripts of the authors take the more confident of the two edge exits.
  config.routing.policy, config.routing.edge_rule = "configured", "most_confident"
  # Half of the validation images select hard classes; the rest can carry a guarantee.
  config.evaluation.calibration_fraction = 0.5
  return config
