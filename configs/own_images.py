"""MEANet on images of your own: a folder of class folders, a CSV file or an .npz file.

Command   meanet train --config own_images --config.dataset.path=DIR
          --workdir runs/own; docs/own_images.md says how DIR may look.
Hardware  2 CPU cores: minutes for a thousand images.

The number of classes and the shape of the images are found from the data; at most 96x96 pixels. The
networks are small ones for about 32 to 96 pixels a side. A fifth of the images is set aside for
testing and a fifth of the others for hard classes and thresholds, where data have no such split.
Flips are off, because letters and signs are not to be mirrored.
"""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


def get_config() -> ConfigDict:
  """The experiment."""
  config = default_config()
  config.dataset.name = "folder"
  config.dataset.image_shape = (0, 0, 0)
  config.dataset.num_classes = 0
  config.dataset.test_fraction = 0.2
  config.dataset.validation_fraction = 0.2

  main = config.model.main.structure
  main.stem, main.stem_width = "conv3_stride2", 16
  main.depths, main.widths, main.strides = (1, 1), (16, 32), (2, 2)
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3_stride2", 16
  adaptive.depths, adaptive.widths, adaptive.strides = (1, 1), (16, 32), (2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (2,), (64,), (2,)
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv3_stride2", 32
  cloud.depths, cloud.widths, cloud.strides = (2, 2, 2), (32, 64, 128), (1, 2, 2)

  stages = config.stages
  stages.main.epochs, stages.edge.epochs, stages.cloud.epochs = 30, 30, 20
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.batch_size, stage.learning_rate = 32, 0.05
    stage.weight_decay = 5e-4
    stage.schedule, stage.warmup_epochs = "cosine", 1
    stage.augment.pad_crop = 4
  return config
