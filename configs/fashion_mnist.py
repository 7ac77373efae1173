"""MEANet on Fashion-MNIST: 70,000 grey images of clothes, 28x28, ten classes.

Prepare   meanet prepare fashion_mnist --data-dir DIR
          (docs/data.md: also from Debian's package, without a network)
Command   python train.py --config configs/fashion_mnist.py --workdir runs/fashion --data-dir DIR
Hardware  2 CPU cores, one of them busy with other runs: two to four hours for all stages.
Measured  see benchmarks/evidence.md; `python -m benchmarks.evidence --config` with this file makes
          its section.
"""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


def get_config() -> ConfigDict:
  """The experiment."""
  config = default_config()
  config.dataset.name = "fashion_mnist"
  config.dataset.image_shape = (28, 28, 1)
  config.dataset.num_classes = 10
  config.dataset.validation_fraction = 0.1
  config.hard_classes.count = 5
  config.evaluation.constraints.max_offload = 0.1
  config.evaluation.batch_size = 500
  config.routing.run_share = 0.19  # 1.0 MMAC on average

  main = config.model.main.structure
  main.stem, main.stem_width = "conv3_stride2", 8
  main.depths, main.widths, main.strides = (1, 1), (16, 32), (2, 2)
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3", 8
  adaptive.depths, adaptive.widths, adaptive.strides = (1, 1, 1), (16, 32, 48), (2, 2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (1,), (48,), (1,)
  config.model.extension_classes, config.model.join_dropout = "all", 0.5
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv3", 16
  cloud.depths, cloud.widths, cloud.strides = (1, 1, 1), (32, 96, 160), (2, 2, 2)

  stages = config.stages
  stages.training = "joint"  # main ends at 91.2% instead of 90.2: docs/benchmarks.md
  stages.main.epochs, stages.edge.epochs, stages.cloud.epochs = 24, 48, 32
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.batch_size, stage.learning_rate = 128, 0.1
    stage.weight_decay = 5e-4
    stage.schedule, stage.warmup_epochs = "cosine", 1
    stage.augment.pad_crop, stage.augment.flip = 2, True
  stages.cloud.label_smoothing, stages.cloud.augment.cutout = 0.1, 8
  config.logging.checkpoint_every_epochs = 1
  return config
