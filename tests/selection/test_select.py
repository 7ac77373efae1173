import dataclasses
import math

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.errors import UserError
from meanet_jax.selection.limits import Points
from meanet_jax.selection.risk_control import images_needed
from meanet_jax.selection.select import select

OFFLOAD = np.array([1.0, 0.6, 0.3, 0.2, 0.2, 0.05, 0.0])
ACCURACY = np.array([0.98, 0.985, 0.97, 0.95, 0.95, 0.92, 0.9])
POINTS = Points(
  ACCURACY,
  OFFLOAD,
  1 + 9 * OFFLOAD,
  2 + 20 * OFFLOAD,
  10.0,
  22.0,
  bytes_up=192 * OFFLOAD,
  image_bytes=192.0,
  latency_p95_ms=np.where(OFFLOAD > 0.05, 22.0, 2.0),
  late=OFFLOAD,
)


@pytest.mark.parametrize(
  ("constraints", "index"),
  [
    (Constraints(max_offload=0.2), 4),  # of equals the later
    (Constraints(max_offload=1.0), 1),  # 0.98 is more than 0.38 points below
    (Constraints(max_offload=1.0, spend_budget=True), 0),
    (Constraints(max_offload=0.2, spend_budget=True), 4),
    (Constraints(max_offload=0.0), 6),
    (Constraints(max_bytes=60.0), 2),
    (Constraints(max_energy_mj=3.7), 2),
    (Constraints(max_latency_ms=8.0), 2),
    (Constraints(max_latency_p95_ms=5.0), 5),
    (Constraints(min_accuracy=0.95), 4),  # the fewest offloads that suffice
    (Constraints(min_accuracy=0.95, max_offload=0.5), 4),
    (Constraints(max_energy_mj=3.7, max_offload=0.25), 4),
    (Constraints(offload_penalty=0.05), 2),  # 0.97 - 0.015 is the best
    (Constraints(offload_penalty=1.0), 6),
    (Constraints(offload_penalty=0.05, max_offload=0.25), 4),
  ],
)
def test_known_answers(constraints, index):
  found = select(POINTS, 1000, constraints)
  assert (found.point, found.unmet) == (index, None)


def one_point(**figures) -> Points:
  one = np.array([0.5])
  return Points(
    **(
      {"accuracy": one, "offload": one, "energy_mj": one, "latency_ms": one}
      | {"worst_energy_mj": 1.0, "worst_latency_ms": 1.0}
      | figures
    )
  )


@pytest.mark.parametrize(
  ("points", "constraints"),
  [
    # Means that are 0.8 but for the last bit.
    (
      one_point(class_correct=np.array([[5, 9, 10]]), class_images=np.array([10, 10, 10])),
      Constraints(min_balanced_accuracy=0.8),
    ),
    # 23 of 100 images of 784 bytes.
    (
      one_point(bytes_up=np.array([0.23 * 784]), image_bytes=784.0),
      Constraints(max_bytes=180.32),
    ),
  ],
)
def test_a_limit_is_kept_by_what_is_equal_but_for_rounding(points, constraints):
  assert select(points, 100, constraints).unmet is None
  field, (asked,) = next(iter(constraints.given())), constraints.given().values()
  step = 1e-9 if field.startswith("min_") else -1e-9
  closer = dataclasses.replace(constraints, **{field: asked * (1 + step)})
  assert select(points, 100, closer).unmet is not None


def test_a_device_that_needs_no_energy_keeps_any_limit_on_it():
  points = one_point(energy_mj=np.array([0.0]), worst_energy_mj=0.0)
  assert select(points, 100, Constraints(max_energy_mj=1.0)).unmet is None


def test_within_one_standard_error_the_cheapest_is_taken():
  """Of 100 images the standard error of 0.985 is 1.2 points: 0.98 is within it, 0.97 is not."""
  found = select(POINTS, 100, Constraints(max_offload=1.0))
  assert (found.point, found.highest) == (1, 1)
  assert found.standard_error == pytest.approx(math.sqrt(0.985 * 0.015 / 100))
  found = select(POINTS, 60, Constraints(max_offload=1.0))  # 1.57 points
  assert (found.point, found.highest) == (2, 1)
  found = select(POINTS, 20, Constraints(max_offload=1.0))  # 2.7 points
  assert (found.point, found.highest) == (2, 1)
  found = select(POINTS, 10, Constraints(max_offload=1.0))  # 3.8 points
  assert (found.point, found.highest) == (4, 1)


def plain_rule(points: Points, count: int, constraints: Constraints) -> int | None:
  """The rule a point at a time; None if no point keeps the limits."""
  kept = []
  for point in range(len(points.accuracy)):
    if constraints.max_offload is not None and points.offload[point] > constraints.max_offload:
      continue
    if constraints.max_energy_mj is not None and (
      points.energy_mj[point] > constraints.max_energy_mj
    ):
      continue
    if constraints.min_accuracy is not None and points.accuracy[point] < constraints.min_accuracy:
      continue
    kept.append(point)
  if not kept:
    return None
  if constraints.spend_budget:
    most = max(points.offload[point] for point in kept)
    return max(point for point in kept if points.offload[point] == most)
  if constraints.min_accuracy is None:
    top = max(points.accuracy[point] for point in kept)
    error = math.sqrt(top * (1 - top) / count)
    kept = [point for point in kept if points.accuracy[point] >= top - error - 1e-12]
  return min(kept, key=lambda point: (points.offload[point], points.energy_mj[point], -point))


@pytest.mark.parametrize("seed", range(5))
def test_the_selection_equals_the_plain_rule(seed):
  rng = np.random.default_rng(seed)
  count = 200
  for _ in range(100):
    offload = np.sort(rng.integers(0, count + 1, 30))[::-1] / count
    accuracy = rng.integers(160, count + 1, 30) / count
    energy = offload + rng.integers(0, 3, 30)
    points = Points(accuracy, offload, energy, energy, 4.0, 4.0)
    for constraints in (
      Constraints(max_offload=float(rng.uniform())),
      Constraints(max_offload=float(rng.uniform()), spend_budget=True),
      Constraints(max_energy_mj=float(rng.uniform(0, 3)), min_accuracy=0.9),
      Constraints(max_energy_mj=float(rng.uniform(0, 3))),
    ):
      found, expected = select(points, count, constraints), plain_rule(points, count, constraints)
      assert (found.unmet is None) == (expected is not None)
      if expected is not None:
        assert found.point == expected


def test_a_limit_of_20_ms_is_not_an_order_to_send_97_percent():
  """Beyond 20% sent the cloud helps no longer; what is gained there is noise of 500 images."""
  offload = np.linspace(1, 0, 1001)
  gain = np.minimum(offload, 0.2) / 0.2
  accuracy = 0.9 + 0.07 * gain + 0.004 * np.maximum(offload - 0.2, 0)
  points = Points(accuracy, offload, 1 + offload, 0.6 + 20 * offload, 2.0, 20.6)
  asked = Constraints(max_latency_ms=20.0)
  spent = select(points, 500, dataclasses.replace(asked, spend_budget=True))
  assert points.offload[spent.point] == pytest.approx(0.97)
  found = select(points, 500, asked)
  assert points.offload[found.highest] == pytest.approx(0.97)
  assert 0.15 < points.offload[found.point] <= 0.2
  assert points.accuracy[spent.point] - points.accuracy[found.point] <= found.standard_error


def test_limits_on_classes():
  correct = np.array([[10, 9, 0], [9, 10, 0], [8, 10, 0]])
  images = np.array([10, 10, 0])
  points = Points(
    np.array([0.95, 0.95, 0.9]),
    np.array([0.3, 0.2, 0.1]),
    *2 * [np.ones(3)],
    *2 * [1.0],
    class_correct=correct,
    class_images=images,
  )
  np.testing.assert_allclose(points.balanced_accuracy, [0.95, 0.95, 0.9])
  np.testing.assert_allclose(points.class_recall, [0.9, 0.9, 0.8])
  found = select(points, 20, Constraints(min_class_recall=0.9))
  assert (found.point, found.unmet) == (1, None)
  found = select(points, 20, Constraints(min_balanced_accuracy=0.9))
  assert (found.point, found.unmet) == (1, None)  # 0.9 is just beyond the noise of 0.95
  unmet = select(points, 20, Constraints(min_class_recall=0.95)).unmet
  assert unmet == "no threshold keeps min-class-recall 0.95; the nearest has min-class-recall 0.9"
  sure = Constraints(min_class_recall=0.5, confidence=0.9)
  with pytest.raises(UserError, match=r"has 0 images of class 2, .* at least 4 of every class"):
    select(points, 20, sure)
  balanced = Constraints(min_balanced_accuracy=0.5, confidence=0.9)
  with pytest.raises(UserError, match=r"has no image of class 2, without which nothing can show"):
    select(points, 20, balanced)
  known = dataclasses.replace(points, class_correct=correct[:, :2], class_images=images[:2])
  assert select(known, 20, sure)[:2] == (1, None)
  assert select(known, 20, balanced)[:2] == (1, None)
  balanced = Constraints(min_balanced_accuracy=0.8, confidence=0.9)
  with pytest.raises(
    UserError, match=r"20 images of 2 classes, of the rarest 10, too few to show "
  ):
    select(known, 20, balanced)  # ln 10 / (2 x 0.2^2) = 28.8


def test_a_late_share_needs_59_images_at_0_95():
  asked = Constraints(max_latency_p95_ms=5.0, confidence=0.95)
  with pytest.raises(UserError, match=r"has 58 images, .* max-latency-p95-ms 5 .* at least 59"):
    select(POINTS, 58, asked)
  assert select(POINTS, 200, asked).point == 6  # 10 late of 200 do not show 5%


@pytest.mark.parametrize(
  ("constraints", "message"),
  [
    (Constraints(spend_budget=True), "without a budget to spend"),
    (Constraints(spend_budget=True, min_class_recall=0.9), "without a budget to spend"),
    (
      Constraints(spend_budget=True, max_offload=0.1, min_accuracy=0.9),
      r"spend_budget asks for the most offloads and min_accuracy 0\.9 for the fewest offloads",
    ),
    (Constraints(spend_budget=True, max_offload=0.1, offload_penalty=0.1), "and offload_penalty"),
  ],
)
def test_constraints_that_contradict_each_other_are_named(constraints, message):
  with pytest.raises(UserError, match=message):
    select(POINTS, 1000, constraints)


def test_constraints_that_cannot_be_kept_say_so_and_give_the_nearest_point():
  index, unmet, *_ = select(POINTS, 1000, Constraints(min_accuracy=0.99))
  assert index == 1
  assert unmet == "no threshold keeps min-accuracy 0.99; the nearest has min-accuracy 0.985"
  index, unmet, *_ = select(POINTS, 1000, Constraints(min_accuracy=0.96, max_offload=0.25))
  assert index == 3  # 1% short of accuracy; the point before is 20% over the offloads
  assert unmet is not None
  assert "max-offload 0.25 and min-accuracy 0.96" in unmet
  assert unmet.endswith(
    "each is kept alone, max-offload 0.25 and min-accuracy 0.96 exclude each other"
  )
  unmet = select(POINTS, 1000, Constraints(max_energy_mj=0.5, max_offload=0.25)).unmet
  assert unmet is not None
  assert unmet.endswith("; none keeps max-energy-mj 0.5 alone")


def test_of_points_that_are_not_shown_to_keep_limits_the_nearest_to_that_is_given():
  """All that keep the limits on these images are equally far from them: not at all."""
  at = np.array([0.3, 0.2, 0.15, 0.1])
  points = Points(0.9 + 0.1 * at, at, 1 + at, 1 + at, 2.0, 2.0)
  index, unmet, *_ = select(points, 20, Constraints(max_offload=0.2, confidence=0.95))
  assert index == 3  # P(Binomial(20, 0.2) <= 2) is 0.2, of 3 it is 0.4
  assert unmet is not None
  assert unmet.endswith("with confidence 0.95; the nearest has max-offload 0.1")
  both = Constraints(max_offload=0.35, min_accuracy=0.86, confidence=0.95)
  points = dataclasses.replace(points, accuracy=np.array([0.875, 0.9, 0.875, 0.8]))
  assert select(points, 40, both).point == 1  # the most accurate, for the accuracy is less certain


def test_no_constraint_is_refused():
  with pytest.raises(UserError, match="no constraint was given"):
    select(POINTS, 1000, Constraints())


def test_too_few_images_are_counted():
  constraints = Constraints(min_accuracy=0.99, confidence=0.95)
  with pytest.raises(UserError, match=r"has 100 images, too few .* accepted: at least 299"):
    select(POINTS, 100, constraints)
  assert images_needed(0.01, 0.05) == 299
  assert 0.99**299 <= 0.05 < 0.99**298
  with pytest.raises(UserError, match="no number of images can show max-offload 0"):
    select(POINTS, 100, Constraints(max_offload=0.0, confidence=0.9))


def test_too_few_images_are_counted_for_means_too():
  # A hundredth of the 10 mJ that one image can cost: no fewer images can show it.
  with pytest.raises(UserError, match=r"show max-energy-mj 0\.1 .* accepted: at least 299"):
    select(POINTS, 298, Constraints(max_energy_mj=0.1, confidence=0.95))
  assert select(POINTS, 299, Constraints(max_energy_mj=0.1, confidence=0.95)).unmet is not None


def test_a_price_promises_nothing():
  with pytest.raises(UserError, match=r"confidence 0\.9 was asked with an offload penalty alone"):
    select(POINTS, 1000, Constraints(offload_penalty=0.1, confidence=0.9))
  assert (
    select(POINTS, 1000, Constraints(offload_penalty=0.1, max_offload=0.5, confidence=0.9)).unmet
    is None
  )


def test_a_limit_that_nothing_can_exceed_holds_everywhere():
  asked = Constraints(max_offload=1.0, confidence=0.99, spend_budget=True)
  assert select(POINTS, 10, asked)[:2] == (0, None)


def test_a_mean_is_no_share_even_if_its_largest_value_is_1():
  """Mean 0.1 of 60 values up to 1 does not show 0.2 at 0.95; 6 of 60 events would."""
  one = np.array([0.1])
  points = Points(one, one, one, one, 1.0, 1.0)
  assert select(points, 60, Constraints(max_offload=0.2, confidence=0.95)).unmet is None
  assert select(points, 60, Constraints(max_energy_mj=0.2, confidence=0.95)).unmet is not None
