"""Levers of training on linear classifiers, against plain formulas in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.schema import Config
from meanet_jax.config.stages import DistillationConfig
from meanet_jax.errors import UserError
from meanet_jax.models.meanet import Exits
from meanet_jax.training.losses import divergence
from meanet_jax.training.run_numbers import run_numbers
from meanet_jax.training.steps import stage_key
from tests.devices import forced_devices
from tests.forked_commands import run_command
from tests.training.linear_meanet import (
  FOUND,
  HARD,
  IS_HARD,
  PLAIN,
  TO_HARD,
  augmented,
  batch,
  experiment,
  labels_of_training,
  linear_meanet,
  stage_of,
  start,
)

TAUGHT = DistillationConfig(0.75, 3.0)


def softmax(logits: np.ndarray) -> np.ndarray:
  powers = np.exp(logits - logits.max(-1, keepdims=True))
  return powers / powers.sum(-1, keepdims=True)


def logits_of(variables, block: str, pixels: np.ndarray) -> np.ndarray:
  dense = variables[block]["params"]["dense"]
  return pixels @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"], np.float64)


def lesson(logits, teacher, labels, taught: DistillationConfig | None):
  """Losses [n], and their gradients with respect to logits [n, c]."""
  own = softmax(logits)
  target = np.eye(logits.shape[-1])[labels]
  losses, errors = -np.log(own[np.arange(len(labels)), labels]), own - target
  if taught is None:
    return losses, errors
  w, t = taught.weight, taught.temperature
  soft, other = softmax(teacher / t), softmax(logits / t)
  kl = (soft * (np.log(soft) - np.log(other))).sum(-1)
  return (1 - w) * losses + w * t * t * kl, (1 - w) * errors + w * t * (other - soft)


def check(config: Config, name: str, weights: dict[str, np.ndarray], taught=TAUGHT) -> None:
  """The first step's loss and gradient against the formula.

  Args:
    config, name: the experiment and its stage.
    weights: of the images [b] in the loss of each block's exit, which is the sum of weight x loss.
  """
  stage = stage_of(config, name)
  data, (_, variables) = batch(config, stage), linear_meanet(config)
  state, step = start(config, name)
  after, sums = jax.jit(step)(state, data, stage_key(0, name))
  pixels, raw = augmented(config, name, data), np.asarray(data["label"])
  total = 0.0
  for block, of_images in weights.items():
    logits, teacher = (logits_of(variables, part, pixels) for part in (block, "cloud"))
    labels = raw
    if block == "extension" and config.model.extension_classes == "hard":
      teacher = teacher[:, HARD]
      labels = raw if stage.images == "hard" else TO_HARD[raw]
    losses, errors = lesson(logits, teacher, labels, taught)
    total += np.sum(of_images * losses)
    expected = pixels.T @ (of_images[:, None] * errors)
    moved = np.asarray(
      state.params[block]["dense"]["kernel"] - after.params[block]["dense"]["kernel"]
    )
    np.testing.assert_allclose(moved, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
  assert float(sums["loss"]) / len(raw) == pytest.approx(total, rel=1e-5)
  now = after.frozen | after.learned()
  assert set(now) == set(weights) | set(state.frozen)
  for block in state.frozen:
    jax.tree.map(np.testing.assert_array_equal, now[block], variables[block])
    assert float(now[block]["batch_stats"]["passes"]) == 0  # evaluation mode


def test_divergence_is_the_formula():
  rng = np.random.default_rng(0)
  teacher, student = (jnp.asarray(rng.normal(size=(5, 4)), jnp.float32) for _ in range(2))
  p, q = (softmax(np.asarray(logits, np.float64) / 2.5) for logits in (teacher, student))
  expected = 2.5**2 * (p * np.log(p / q)).sum(-1)
  np.testing.assert_allclose(divergence(teacher, student, 2.5), expected, rtol=1e-4)
  np.testing.assert_allclose(divergence(teacher, teacher, 2.5), 0, atol=1e-6)


def test_main_learns_from_the_cloud_which_stays(tiny):
  taught = dataclasses.replace(PLAIN, distillation=TAUGHT)
  check(experiment(tiny, main=taught), "main", {"main": np.full(24, 1 / 24)})


def test_an_extension_of_hard_classes_learns_from_the_clouds_logits_of_these(tiny):
  taught = dataclasses.replace(PLAIN, distillation=TAUGHT)
  check(experiment(tiny, edge=taught), "edge", {"extension": np.full(24, 1 / 24)})


def test_finetuning_trains_both_exits_by_their_shares(tiny):
  """Main from all images, the extension from hard ones; 3 of 8 images are predicted as hard."""
  taught = dataclasses.replace(PLAIN, distillation=TAUGHT, weigh_exits_by_share=True)
  config = experiment(tiny, finetune=taught, training="mixed")
  hard = IS_HARD[np.asarray(batch(config, stage_of(config, "finetune"))["label"])]
  assert 0 < hard.sum() < 24
  weights = {"main": np.full(24, 1.25 / 24), "extension": 0.75 * hard / hard.sum()}
  check(config, "finetune", weights)


def image_weights(config: Config, name: str) -> np.ndarray:
  """Those of an easy weight of 0.2: half of the validation images count less."""
  data, (_, variables) = batch(config, stage_of(config, name)), linear_meanet(config)
  main = logits_of(variables, "main", augmented(config, name, data)).argmax(-1)
  runs = IS_HARD[np.asarray(data["label"])] | IS_HARD[main]
  assert IS_HARD[main].any()
  assert 0 < runs.sum() < 24
  return np.where(runs, 1, 0.2) / 0.6


def test_an_extension_of_all_classes_learns_less_from_images_that_it_would_not_see(tiny):
  settings = dataclasses.replace(PLAIN, distillation=TAUGHT, easy_weight=0.2)
  config = experiment(tiny, "all", edge=settings)
  check(config, "edge", {"extension": image_weights(config, "edge") / 24})


def test_a_joint_stage_has_an_extension_of_all_classes_too(tiny):
  settings = dataclasses.replace(PLAIN, easy_weight=0.2, loss_weights=(0.5, 2.0))
  config = experiment(tiny, "all", edge=settings, training="joint")
  weights = {"main": np.full(24, 0.5 / 24), "extension": 2 * image_weights(config, "edge") / 24}
  check(config, "edge", weights, None)


def test_class_weights_have_mean_one_over_the_images_of_an_exit(tiny):
  given = (0.0, 2.0, 1.0, 1.0, 4.0, 0.5, 1.0, 3.0, 1.0, 1.0)
  settings = dataclasses.replace(PLAIN, class_weights=given)
  config = experiment(tiny, finetune=settings, training="mixed")
  labels = np.asarray(batch(config, stage_of(config, "finetune"))["label"])
  hard, images, factors = IS_HARD[labels], 10 + np.arange(10), np.asarray(given)
  main = factors * images.sum() / (factors * images).sum()
  extension = factors * images[HARD].sum() / (factors * images)[HARD].sum()
  weights = {"main": main[labels] / 24, "extension": extension[labels] * hard / hard.sum()}
  check(config, "finetune", weights, None)


def test_balanced_classes_weigh_the_same_in_sum(tiny):
  settings = dataclasses.replace(PLAIN, class_weights="balanced")
  config = experiment(tiny, main=settings, edge=settings)
  numbers = run_numbers(stage_of(config, "main"), config, labels_of_training(), None)
  (weights,), images = numbers.class_weights, 10 + np.arange(10)
  np.testing.assert_allclose(weights, images.sum() / (10 * images), rtol=1e-6)
  numbers = run_numbers(stage_of(config, "edge"), config, labels_of_training(), FOUND)
  (weights,) = numbers.class_weights
  np.testing.assert_allclose(weights, images[HARD].sum() / (5 * images[HARD]), rtol=1e-6)


def test_a_class_without_images_weighs_nothing(tiny):
  settings = dataclasses.replace(PLAIN, class_weights="balanced")
  config = experiment(tiny, main=settings)
  labels = np.array([0, 0, 0, 2], np.int32)
  (weights,) = run_numbers(stage_of(config, "main"), config, labels, None).class_weights
  np.testing.assert_allclose(weights[:3], [2 / 3, 0, 2], rtol=1e-6)


def test_class_weights_that_leave_nothing_to_learn_are_refused(tiny):
  given = tuple(0.0 if hard else 1.0 for hard in IS_HARD)
  config = experiment(tiny, edge=dataclasses.replace(PLAIN, class_weights=given))
  with pytest.raises(UserError, match=r"^stages\.edge\.class_weights is 0 for every class that"):
    run_numbers(stage_of(config, "edge"), config, labels_of_training(), FOUND)


@pytest.mark.parametrize("extension_classes", ["hard", "all"])
def test_micro_batches_have_the_gradient_of_the_whole_batch(tiny, extension_classes):
  """With a teacher, class weights and image weights, of which micro-batches hold unequal shares."""
  moved = []
  for parts in (1, 3):
    settings = dataclasses.replace(
      PLAIN, distillation=TAUGHT, class_weights="balanced", accumulate=parts
    )
    if extension_classes == "all":
      settings = dataclasses.replace(settings, easy_weight=0.2)
    config = experiment(tiny, extension_classes, finetune=settings, training="mixed")
    state, step = start(config, "finetune")
    data = batch(config, stage_of(config, "finetune"))
    after, sums = jax.jit(step)(state, data, stage_key(0, "finetune"))
    moved.append((jax.tree.map(lambda a, b: np.asarray(a - b), state.params, after.params), sums))
  for whole, part in zip(*map(jax.tree.leaves, moved), strict=True):
    np.testing.assert_allclose(part, whole, rtol=1e-5, atol=3e-6 * np.abs(whole).max())


def test_a_step_computes_mains_logits_only_where_they_weigh_images(tiny):
  assert stage_of(experiment(tiny), "edge").computed == Exits.EXTENSION
  every = stage_of(experiment(tiny, "all"), "edge")
  assert (every.computed, every.exits) == (Exits.MAIN | Exits.EXTENSION, Exits.EXTENSION)
  assert every.images == "all"
  assert "cloud" not in every.blocks


def test_two_devices_learn_what_one_does(tmp_path):
  """With every lever at once, in the stage finetune; sums are added in another order."""
  found = []
  for devices in (1, 2):
    path = tmp_path / f"{devices}.npz"
    command = ("-m", "tests.training.lever_steps", path)
    assert run_command(*command, env=forced_devices(devices)).returncode == 0
    with np.load(path) as arrays:
      assert int(arrays["devices"]) == devices
      found.append({name: arrays[name] for name in arrays if name != "devices"})
  one, two = found
  assert len(one) == len(two) > 4
  for name, value in one.items():
    np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=3e-6 * np.abs(value).max())
