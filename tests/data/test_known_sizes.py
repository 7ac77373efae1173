import dataclasses

import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.known_sizes import TrainingImages, training_images
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from tests.experiments import tiny_config

CIFAR = DatasetConfig(name="cifar100", image_shape=(32, 32, 3), num_classes=100)


def test_digits_are_as_many_as_are_loaded():
  config = resolve(tiny_config()).dataset
  planned, loaded = training_images(config, None), load(config)
  assert abs(planned.count - len(loaded.train)) <= 1  # whole images are set aside
  assert not planned.streamed


def test_what_is_kept_in_memory_and_what_is_streamed():
  assert training_images(CIFAR, None) == TrainingImages(45_000, 45_000, streamed=False)
  small = dataclasses.replace(CIFAR, in_memory_mb=184)  # 60,000 images of 3,072 bytes are 184.3 MB
  assert training_images(small, None).streamed
  imagenet = DatasetConfig(name="imagenet2012", image_shape=(224, 224, 3), validation_fraction=0.5)
  assert training_images(imagenet, None) == TrainingImages(640_583, 0, streamed=True)


def test_hard_classes_have_their_share():
  whole = TrainingImages(45_000, 45_000, False)
  assert whole.hard(50, 100) == TrainingImages(22_500, 45_000, False)


@pytest.mark.parametrize("change", [{"name": "imagenette"}, {"train_split": "train[:90%]"}])
def test_other_sets_need_their_number(change):
  config = dataclasses.replace(CIFAR, **change)
  with pytest.raises(UserError, match=r"flag --num-train is missing.*accepted: the number"):
    training_images(config, None)
  assert training_images(config, 1000) == TrainingImages(900, 900, streamed=False)
