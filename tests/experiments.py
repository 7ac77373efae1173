"""Small configurations and made-up records for tests."""

import numpy as np
from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config
from meanet_jax.routing.fusion import fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import Records
from meanet_jax.routing.scores import hard_probability, scores


def tiny_config() -> ConfigDict:
  """Digits through networks that compile in a second or two; two epochs a stage."""
  config = default_config()
  config.dataset.test_fraction = 0.4
  config.dataset.validation_fraction = 0.3
  config.evaluation.calibration_fraction = 0.4
  main = config.model.main.structure
  main.stem, main.stem_width = "conv3", 4
  main.depths, main.widths, main.strides = (1,), (4,), (2,)
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3", 4
  adaptive.depths, adaptive.widths, adaptive.strides = (1,), (4,), (2,)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (1,), (8,), (1,)
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv3", 8
  cloud.depths, cloud.widths, cloud.strides = (1,), (8,), (2,)
  for stage in (config.stages.main, config.stages.edge, config.stages.cloud):
    stage.epochs, stage.batch_size, stage.augment.pad_crop = 2, 64, 1
  config.logging.every_steps = 3
  config.logging.checkpoint_every_epochs = 1
  return config


def random_records(
  rng: np.random.Generator, size: int, num_classes: int, hard_classes: np.ndarray
) -> Records:
  """Records of random logits, sharp and flat ones among them, right more often than chance."""
  label = rng.integers(num_classes, size=size).astype(np.int32)
  is_hard = np.isin(np.arange(num_classes), hard_classes)

  def logits(classes: np.ndarray) -> np.ndarray:
    noise = rng.normal(size=(size, len(classes))) * rng.choice([0.1, 1, 5], size=(size, 1))
    return (noise + 2 * (classes == label[:, None])).astype(np.float32)

  main, extension = logits(np.arange(num_classes)), logits(hard_classes)
  cloud = logits(np.arange(num_classes))
  fused = fuse_extension(main, extension, HardClasses(hard_classes, num_classes), 0.6)
  with_main, with_fused = (
    np.argmax(fuse_cloud(edge, cloud, 0.7), axis=-1).astype(np.int32)
    for edge in (log_softmax(main), fused)
  )
  return Records(
    label=label,
    hard_probability=hard_probability(main, is_hard),
    main=scores(main),
    extension=scores(extension, hard_classes.astype(np.int32)),
    cloud=scores(cloud),
    fused=scores(fused),
    cloud_with_main=with_main,
    cloud_with_fused=with_fused,
  )
