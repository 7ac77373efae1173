"""MEANet on scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels.

Command   python train.py --config configs/digits.py --workdir runs/digits
Hardware  2 CPU cores: about half a minute for all stages.
Measured  see benchmarks/evidence.md; `python -m benchmarks.evidence` makes it.

The main block is deliberately tiny: a plain network of 50,000 multiply-accumulates already
answers digits as well as any cloud. Adaptive and extension block are a better network, which runs
on few of the images. Three tenths of the images outside the test split train nothing: hard
classes are selected on six tenths of those and thresholds selected on all of them, or, with a
confidence, on the four tenths that selected nothing. The policy is selected on those six tenths
too; `paper` in every table is the paper's.
"""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


def get_config() -> ConfigDict:
  """The experiment of `make demo`."""
  config = default_config()
  config.dataset.name = "digits"
  config.dataset.image_shape = (8, 8, 1)
  config.dataset.num_classes = 10
  config.dataset.test_fraction = 0.35
  config.dataset.validation_fraction = 0.3
  config.hard_classes.count = 7
  config.evaluation.constraints.max_offload = 0.05
  config.evaluation.calibration_fraction = 0.4
  config.routing.run_share = 0.07

  main = config.model.main.structure
  main.stem, main.stem_width = "conv3", 3
  main.depths, main.widths, main.strides = (1, 1), (6, 8), (2, 2)
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3", 16
  adaptive.depths, adaptive.widths, adaptive.strides = (1, 1), (16, 32), (2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (1,), (32,), (1,)
  config.model.extension_classes, config.model.join_dropout = "all", 0.5
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv3", 32
  cloud.depths, cloud.widths, cloud.strides = (1, 1), (48, 96), (2, 2)

  stages = config.stages
  stages.training = "joint"  # won over seeds: benchmarks/evidence.md, levers
  stages.main.epochs, stages.edge.epochs, stages.cloud.epochs = 140, 100, 120
  stages.edge.label_smoothing = stages.cloud.label_smoothing = 0.1
  stages.cloud.weight_decay = 1e-3
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.batch_size, stage.learning_rate = 64, 0.05
    stage.schedule, stage.warmup_epochs = "cosine", 1
    stage.augment.pad_crop = 1
  return config
