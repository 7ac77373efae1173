"""How many images a data set has, for plans made without it."""

import dataclasses

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.in_memory import fits_in_memory
from meanet_jax.errors import UserError

# Training and test images, by TFDS's catalogue (www.tensorflow.org/datasets/catalog) and, for
# digits, scikit-learn. ImageNet's test images are its public validation images.
SIZES = {
  "cifar10": (50_000, 10_000),
  "cifar100": (50_000, 10_000),
  "digits": (1_797, 0),
  "fashion_mnist": (60_000, 10_000),
  "imagenet2012": (1_281_167, 50_000),
  "mnist": (60_000, 10_000),
}


@dataclasses.dataclass(frozen=True)
class TrainingImages:
  """count: images that a stage learns from. resident: that lie on the devices, of all classes.
  streamed: whether they are read as they are needed instead.
  """

  count: int
  resident: int
  streamed: bool

  def hard(self, hard_classes: int, classes: int) -> "TrainingImages":
    """Those of hard classes, as if all classes were of one size."""
    return dataclasses.replace(self, count=self.count * hard_classes // classes)


def training_images(config: DatasetConfig, count: int | None) -> TrainingImages:
  """What is left to train on, and whether it is kept on the devices as `data/in_memory.py` decides.

  Args:
    config: the data set.
    count: images before any part is set aside; None for those of a set that is in `SIZES`, whole.

  Raises:
    UserError: a set that is not in `SIZES`, without a count.
  """
  whole = not {"[", "+"} & set(config.train_split)
  if count is None and not (config.name in SIZES and whole):
    raise UserError(
      f"flag --num-train is missing, and {config.name} {config.train_split} is not a whole split "
      f"of {', '.join(SIZES)}; accepted: the number of its images"
    )
  train, test = SIZES[config.name] if count is None else (count, 0)
  in_memory = fits_in_memory(config, train + test)
  kept = train * (1 - config.test_fraction) * (1 - config.validation_fraction)
  return TrainingImages(int(kept), int(kept) if in_memory else 0, not in_memory)
