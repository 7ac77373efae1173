"""MEANet on scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels.

Command: python train.py --config configs/digits.py --workdir runs/digits
"""

from ml_collections import ConfigDict

from meanet_jax.config_dict import default_config


def get_config() -> ConfigDict:
  """The experiment of `make demo`."""
  config = default_config()
  config.dataset.name = "digits"
  config.dataset.image_shape = (8, 8, 1)
  config.dataset.num_classes = 10
  config.dataset.test_fraction = 0.4
  config.dataset.validation_fraction = 0.35

  main = config.model.main.structure
  main.stem, main.stem_width = "conv3", 4
  main.depths, main.widths, main.strides = (1, 1), (4, 8), (2, 2)
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3", 8
  adaptive.depths, adaptive.widths, adaptive.strides = (1, 1), (8, 16), (2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (2,), (32,), (1,)
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv3", 32
  cloud.depths, cloud.widths, cloud.strides = (2, 2), (32, 64), (1, 2)

  for name, epochs, rate in (("main", 12, 0.05), ("edge", 60, 0.05), ("cloud", 40, 0.05)):
    stage = config.stages[name]
    stage.epochs, stage.batch_size, stage.learning_rate = epochs, 64, rate
    stage.schedule, stage.warmup_epochs = "cosine", 1
    stage.augment.pad_crop = 1
  config.evaluation.max_offload = 0.15
  return config
