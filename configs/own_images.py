"""MEANet on images of your own: a folder of class folders, a table, arrays or a saved dataset.

Command   meanet train --data PATH --workdir runs/own; docs/own_images.md says what PATH may be.
          --config own_images:medium or own_images:large for more and larger images.
Hardware  small: 2 CPU cores, minutes for a thousand images. medium: a GPU, or hours of CPU for ten
          thousand images. large: a GPU.

| size | for about | pixels a side |
|---|---|---|
| small | up to 5,000 images | found from the data, 32 to 96 |
| medium | 5,000 to 50,000 images | 128 |
| large | more, or pretrained weights at hand | 224 |

The number of classes is found from the data, and so are the channels. A fifth of the images is set
aside for testing and a fifth of the others for hard classes and thresholds, where data have no such
split. Flips are off, because letters and signs are not to be mirrored.
"""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config
from meanet_jax.errors import UserError

SIZES = ("small", "medium", "large")


def get_config(size: str = "small") -> ConfigDict:
  """The experiment, with networks of one of `SIZES`.

  Raises:
    UserError: another size.
  """
  if size not in SIZES:
    raise UserError(
      f"configuration own_images:{size}; accepted: {', '.join(SIZES)} after the colon"
    )
  config = default_config()
  config.dataset.name = "folder"
  config.dataset.num_classes = 0
  config.dataset.test_fraction = 0.2
  config.dataset.validation_fraction = 0.2
  # What has won over seeds: benchmarks/evidence.md, levers.
  config.model.extension_classes, config.model.join_dropout = "all", 0.5
  {"small": _small, "medium": _medium, "large": _large}[size](config)
  return config


def _small(config: ConfigDict) -> None:
  config.dataset.image_shape = (0, 0, 0)
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
  _stages(config, epochs=(30, 30, 20), batch_size=32)


def _medium(config: ConfigDict) -> None:
  config.dataset.image_shape = (128, 128, 0)
  main = config.model.main.structure
  main.stem, main.stem_width = "conv7_pool", 32
  main.depths, main.widths, main.strides = (2, 2, 2), (32, 64, 128), (1, 2, 2)
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv7_pool", 32
  adaptive.depths, adaptive.widths, adaptive.strides = (1, 1, 1), (32, 64, 128), (1, 2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (2,), (256,), (2,)
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv7_pool", 64
  cloud.depths, cloud.widths, cloud.strides = (2, 2, 2, 2), (64, 128, 256, 512), (1, 2, 2, 2)
  _stages(config, epochs=(60, 60, 40), batch_size=64)


def _large(config: ConfigDict) -> None:
  config.dataset.image_shape = (224, 224, 0)
  config.model.main.name = "resnet18"
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv7_pool", 64
  adaptive.depths, adaptive.widths = (1, 1, 1, 1), (64, 128, 256, 512)
  adaptive.strides = (1, 2, 2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (4,), (512,), (1,)
  config.model.cloud.name = "resnet101"
  _stages(config, epochs=(90, 60, 90), batch_size=128)


def _stages(config: ConfigDict, epochs: tuple[int, int, int], batch_size: int) -> None:
  stages = config.stages
  stages.main.epochs, stages.edge.epochs, stages.cloud.epochs = epochs
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.batch_size, stage.learning_rate = batch_size, 0.05
    stage.weight_decay = 5e-4
    stage.schedule, stage.warmup_epochs = "cosine", 1
    stage.augment.pad_crop = 4
