"""What is checked before the first step, and what the selection says and writes."""

import dataclasses
import json

import numpy as np
import pytest

from meanet_jax.config.schema import Config, RoutingConfig
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.splits import ArraySplit, Dataset
from meanet_jax.errors import UserError
from meanet_jax.log import listed
from meanet_jax.training.hard_classes import check_hard_classes, read_confusion, select
from meanet_jax.training.start import check_images

NAMES = ("ant", "bee", "cat", "dog", "eel", "fly")


def split(counts: list[int]) -> ArraySplit:
  labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
  return ArraySplit(np.zeros((len(labels), 2, 2, 1), np.uint8), labels)


def dataset(train: list[int], validation: list[int]) -> Dataset:
  return Dataset("zoo", NAMES[: len(train)], split(train), split(validation), split([1]))


def config(classes: int = 6, batch: int = 4, training: str = "blockwise", **hard_classes) -> Config:
  start = Config()
  stage = dataclasses.replace(start.stages.edge, batch_size=batch)
  small = dataclasses.replace(start.stages.main, batch_size=1)
  return dataclasses.replace(
    start,
    dataset=dataclasses.replace(start.dataset, num_classes=classes),
    hard_classes=dataclasses.replace(start.hard_classes, **hard_classes),
    stages=dataclasses.replace(
      start.stages, main=small, cloud=small, edge=stage, training=training
    ),
  )


def test_classes_without_images_are_named_and_cannot_be_hard():
  found = dataset([4, 0, 4, 4, 4, 4], [2, 1, 0, 2, 2, 2])
  assert check_hard_classes(config(count=3), found) == [
    "classes without a training image: bee, without a validation image that selects hard classes: "
    "cat; they cannot be hard and count as easy"
  ]
  logits = np.zeros((9, 6), np.float32)
  logits[:, 0] = 1  # nothing but class 0 is ever predicted
  chosen = select(config(count=3), found, logits)
  assert chosen["names"] == ["dog", "eel", "fly"]
  assert chosen["not_eligible"] == [1, 2]
  drawn = select(config(count=4, selection="random"), found, logits)
  assert drawn["names"] == ["ant", "dog", "eel", "fly"]


def test_more_hard_classes_than_can_be_hard_are_refused_before_the_first_step():
  with pytest.raises(UserError) as caught:
    check_hard_classes(config(), dataset([4, 0, 4, 0, 0, 4], [2, 0, 2, 0, 0, 0]))
  assert str(caught.value) == (
    "hard_classes.count is 3; accepted: at most 2, for the other classes are without a training "
    "image: bee, dog, eel, without a validation image that selects hard classes: fly; or images of "
    "every class, or other shares (dataset.validation_fraction, evaluation.calibration_fraction)"
  )


def test_images_that_calibrate_select_no_hard_class():
  """The only validation image of a class may lie in the part that is kept away."""
  found = dataset([4, 4], [9, 1])
  half = config(classes=2, count=1)
  seeds = {bool(calibration_part(10, 0.5, seed)[9]): seed for seed in range(20)}
  for kept_away, seed in seeds.items():
    asked = dataclasses.replace(
      half,
      dataset=dataclasses.replace(half.dataset, split_seed=seed),
      evaluation=dataclasses.replace(half.evaluation, calibration_fraction=0.5),
    )
    assert any("selects hard classes: bee" in x for x in check_images(asked, found)) == kept_away
  assert len(seeds) == 2


def test_the_largest_possible_edge_set_is_compared_with_the_edge_batch():
  found = dataset([1, 2, 3, 4, 50, 60], [2, 2, 2, 2, 2, 2])
  assert check_images(config(batch=3, count=2), found) == []
  (line,) = check_images(config(batch=110, count=2), found)
  assert line.startswith(
    "stages.edge.batch_size is 110, and the 2 smallest classes have 3 training"
  )
  with pytest.raises(
    UserError, match="is 111; accepted: at most 110, the training images of the 2"
  ):
    check_images(config(batch=111, count=2), found)
  # Of a class that cannot be hard no image counts.
  with pytest.raises(UserError, match="is 110; accepted: at most 54, "):
    check_images(config(batch=110, count=2), dataset([1, 2, 3, 4, 50, 60], [2, 2, 2, 2, 2, 0]))
  assert check_images(config(batch=120, count=2, training="joint"), found) == []
  with pytest.raises(UserError, match=r"edge\.batch_size is 121; accepted: at most 120, the"):
    check_images(config(batch=121, count=2, training="joint"), found)


def test_class_weights_of_0_alone_are_refused_before_the_first_step():
  """Of a later stage too; those that may leave something are for that stage to refuse."""
  found, plain = dataset([4, 4, 0, 4, 4, 4], [2] * 6), config(count=2)
  for name in ("main", "edge", "cloud"):
    for weights, refused in (((0.0, 0.0, 1.0, 0.0, 0.0, 0.0), True), ((0.0,) * 5 + (1.0,), False)):
      stage = dataclasses.replace(plain.stage(name), class_weights=weights)
      stages = dataclasses.replace(plain.stages, **{name: stage})
      weighed = dataclasses.replace(plain, stages=stages)
      if not refused:
        check_images(weighed, found)
        continue
      with pytest.raises(UserError, match=rf"^stages\.{name}\.class_weights is 0 for every class"):
        check_images(weighed, found)


@pytest.mark.parametrize("images", [2000, 1999])
def test_a_criterion_that_no_evaluation_could_fit_is_refused_before_the_first_step(images):
  plain = config(classes=2)
  routing = RoutingConfig(policy="configured", offload="late", criterion="learned")
  found = dataset([4, 4], [1000, images - 1000])
  if images == 2000:
    check_images(dataclasses.replace(plain, routing=routing), found)
    return
  check_images(plain, found)
  check_images(dataclasses.replace(plain, routing=RoutingConfig()), found)  # selects another
  with pytest.raises(UserError, match=r"^the criterion 'learned' has 1999 images to fit on; "):
    check_images(dataclasses.replace(plain, routing=routing), found)


def test_a_random_selection_is_known_before_the_first_step():
  found = dataset([1, 2, 4, 8, 16, 32], [2] * 6)
  drawn = select(config(count=2, selection="random"), found, np.zeros((12, 6), np.float32))
  images = sum(2**c for c in drawn["classes"])
  assert check_images(config(batch=images, count=2, selection="random"), found) == []
  with pytest.raises(UserError, match=f"accepted: at most {images}, the stage's number of images"):
    check_images(config(batch=images + 1, count=2, selection="random"), found)


def test_ties_and_what_was_never_predicted_are_told_in_a_line_each(said):
  logits = np.eye(6, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
  found = dataset([4] * 6, [2, 3, 1, 0, 0, 0])
  found = dataclasses.replace(found, validation=split([2, 3, 1, 1, 1, 1]))
  logits = np.concatenate([logits, np.eye(6, dtype=np.float32)[[0, 0, 0]]])
  chosen = select(config(count=4), found, logits)
  assert said == [
    "stage hard_classes: 3 of 6 classes never predicted on validation, which counts as the least "
    "precision: dog, eel, fly",
    "stage hard_classes: ant, dog, eel, fly",
  ]
  assert chosen["tie"] is None
  chosen = select(config(count=5), found, logits)
  assert said[3] == (
    "stage hard_classes: 2 classes of precision 1.0000 tie for 1 of the places; by fewer correct "
    "predictions they go to cat, not to bee"
  )
  assert chosen["tie"] == {
    "precision": 1.0,
    "selected": (2,),
    "left_out": (1,),
    "decided_by": "fewer correct predictions",
  }


def test_many_classes_are_one_line_and_a_small_file(said):
  classes = 3000
  count = np.full(classes, 2)
  labels = np.repeat(np.arange(classes, dtype=np.int32), count)
  images = ArraySplit(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
  names = tuple(f"c{c}" for c in range(classes))
  found = Dataset("many", names, images, images, images)
  logits = np.zeros((len(labels), classes), np.float32)
  logits[:, 7] = 1
  chosen = select(config(classes=classes), found, logits)
  assert len(said) == 3
  assert said[0].startswith(
    "stage hard_classes: 2999 of 3000 classes never predicted on validation, which counts as the "
    "least precision: c0, c1, "
  )
  assert said[0].endswith(", c10 and 2989 more")
  assert max(map(len, said)) < 400
  text = json.dumps(chosen, indent=2)
  assert len(text) < 500_000  # 36 MB and more with a number for every pair of classes
  confusion = read_confusion(json.loads(text))
  assert (confusion[:, 7] == 2).all()
  assert confusion.sum() == 2 * classes


def test_the_confusion_matrix_is_read_from_its_cells():
  cells = {"true": [0, 0, 1], "predicted": [0, 1, 1], "count": [1, 2, 3]}
  found = {"confusion_counts": cells, "precision": [1.0, None]}
  assert read_confusion(found).tolist() == [[1, 2], [0, 3]]


def test_names_are_listed_up_to_a_number():
  assert listed(NAMES) == "ant, bee, cat, dog, eel, fly"
  assert listed(NAMES, 6) == "ant, bee, cat, dog, eel, fly"
  assert listed(NAMES, 4) == "ant, bee, cat, dog and 2 more"
