"""What edge.json led to expect, and what happened: which assumption failed, with the numbers."""

import dataclasses

import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.cost.device import Block, DeviceProfile
from meanet_jax.edge.comparison import FEWEST, Happened, compare, difference, expected_times
from meanet_jax.edge.expected import Evaluated, SplitFigures
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.edge.times import Times

FIGURES = SplitFigures(
  num_images=400,
  accuracy=0.95,
  accuracy_interval=(0.92, 0.97),
  fraction={"main": 0.6, "extension": 0.25, "cloud": 0.15},
  ran_extension=0.3,
  extension_and_cloud=0.05,
  bytes_up=9.6,
  energy_mj=0.1,
  latency_ms=1.0,
  latency_p95_ms=2.0,
)
EVALUATED = Evaluated(
  None, Constraints(max_offload=0.2), dict.fromkeys(("validation", "test"), FIGURES)
)
PROFILE = DeviceProfile(
  "pi",
  "made up",
  "2026-01-01",
  main=Block(1.0, 1.5),
  extension=Block(2.0, 3.0),
  upload=Block(0.5, 0.6),
  idle=Block(20.0, 30.0),
)


@pytest.fixture
def manifest(exported):
  return dataclasses.replace(read_manifest(exported), profile=PROFILE, evaluation=EVALUATED)


def times(milliseconds: float, count: int = 100) -> Times:
  """Times around a mean, alternately 1% below and above."""
  made = Times()
  for number in range(count):
    made.add(milliseconds * (0.99, 1.01)[number % 2] / 1e3)
  return made


def happened(**changes) -> Happened:
  """A stream of 200 images on which all is as expected."""
  as_expected = Happened(
    images=200,
    complex=30,
    labelled=200,
    correct=189,
    main=times(1.0),
    both=times(3.0),
    encode=times(0.5),
    cloud=times(20.0),
    bytes_per_sent=64.0,
  )
  return dataclasses.replace(as_expected, **changes)


def test_the_interval_of_newcombes_paper():
  """Newcombe 1998, table II, example (a), method 10: 56/70 against 48/80."""
  low, high = difference(56, 70, 48 / 80, 80, 0.95)
  assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
  # Example (h): 10/10 against 0/10.
  low, high = difference(10, 10, 0.0, 10, 0.95)
  assert (round(low, 4), round(high, 4)) == (0.6075, 1.0)


def test_all_as_expected(manifest):
  checks = compare(happened(), EVALUATED, manifest)
  assert [check.failed for check in checks] == [False] * 6
  assert checks[0].text == "15.0% of 200 images are for the cloud, 15.0% on validation"
  assert checks[1].text == "accuracy 94.5% of 200, 95.0% on validation"
  assert [check.text for check in checks[2:]] == [
    "main block 1 ms, expected 1 ms",
    "both blocks 3 ms, expected 3 ms",
    "encoding 0.5 ms, expected 0.5 ms",
    "round trip 20 ms, expected 20 ms",
  ]


@pytest.mark.parametrize(
  ("changes", "number", "text"),
  [
    (
      {"complex": 62},
      0,
      "images are harder than validation's: 31.0% of 200 images are for the cloud, 15.0% on "
      "validation, a difference of +6.7 to +25.8 points at 99%",
    ),
    (
      {"complex": 2},
      0,
      "images are easier than validation's: 1.0% of 200 images are for the cloud, 15.0% on "
      "validation, a difference of ",
    ),
    ({"correct": 160}, 1, "fewer answers are right than on validation: accuracy 80.0% of 200, "),
    (
      {"main": times(1.2)},
      2,
      "this device is slower than the profile pi: main block 1.2 ms, expected 1 ms, over 100 ",
    ),
    ({"both": times(4)}, 3, "this device is slower than the profile pi: both blocks 4 ms, "),
    ({"encode": times(1)}, 4, "this device is slower than the profile pi: encoding 1 ms, "),
    (
      {"cloud": times(90)},
      5,
      "the network or the cloud is slower than the profile pi: round trip 90 ms, expected 20 ms",
    ),
  ],
)
def test_the_assumption_that_failed_is_named_with_its_numbers(manifest, changes, number, text):
  checks = compare(happened(**changes), EVALUATED, manifest)
  assert [check.failed for check in checks] == [index == number for index in range(6)]
  assert checks[number].text.startswith(text)


def test_what_a_stream_is_too_short_to_say_fails_nothing(manifest):
  few = FEWEST - 1
  short = happened(images=1, complex=1, labelled=1, correct=0, main=times(50, few))
  checks = compare(dataclasses.replace(short, both=Times()), EVALUATED, manifest)
  assert [check.failed for check in checks] == [None, None, None, False, False]


def test_faster_is_no_failure_and_noise_is_none(manifest):
  noisy = Times()
  for number in range(FEWEST):
    noisy.add(1e-3 if number else 1.0)  # the first call allocates
  checks = compare(happened(main=noisy, cloud=times(1)), EVALUATED, manifest)
  assert not any(check.failed for check in checks)


def test_adapted_thresholds_and_fallbacks_are_not_compared(manifest):
  checks = compare(happened(complex=None, labelled=0), EVALUATED, manifest)
  assert [check.assumption for check in checks] == ["device", "device", "device", "network"]


def test_a_batch_of_more_says_nothing_about_the_time_of_an_image(manifest):
  batched = dataclasses.replace(manifest, batch_size=4)
  checks = compare(happened(main=times(9)), EVALUATED, batched)
  assert "main block" not in " ".join(check.text for check in checks)


def test_without_a_profile_times_are_the_cost_models(manifest):
  modelled = dataclasses.replace(manifest, profile=None)
  cost, macs = modelled.cost, modelled.macs
  expected = expected_times(modelled, 1000.0)
  assert expected["main"] == pytest.approx(macs.main / (cost.edge_gmacs_per_second * 1e6))
  both = (macs.main + macs.extension) / (cost.edge_gmacs_per_second * 1e6)
  assert expected["both"] == pytest.approx(both)
  cloud = 8 / cost.uplink_mbps + cost.round_trip_ms + macs.cloud / cost.cloud_gmacs_per_second / 1e6
  assert expected["cloud"] == pytest.approx(cloud)
  checks = compare(happened(cloud=times(500)), EVALUATED, modelled)
  assert checks[-1].text.startswith("the network or the cloud is slower than the cost model: ")
