"""The evidence's own arithmetic: differences, areas and the page."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.evidence.measure import Operating, area, within
from benchmarks.evidence.page import KNOWN, most_accurate, spread, with_section
from benchmarks.evidence.paired import paired_difference, resampled


def test_a_difference_is_the_mean_over_seeds_and_images_and_zero_of_equals():
  ours = [np.array([True, True, False, True])] * 2
  others = [np.array([True, False, False, True]), np.array([False, True, False, True])]
  found = paired_difference(ours, others)
  assert found.mean == pytest.approx(0.25)
  assert found.low <= found.mean <= found.high
  assert paired_difference(ours, ours) == (0, 0, 0)


def test_resampling_has_the_variance_of_seeds_and_of_images():
  rng = np.random.default_rng(1)
  of_seeds = np.repeat([[0.0], [1.0], [2.0]], 50, axis=1)
  assert resampled(of_seeds).std() == pytest.approx(np.std([0, 1, 2]) / np.sqrt(3), rel=0.05)
  of_images = np.tile(rng.normal(size=400), (3, 1))
  expected = of_images[0].std() / np.sqrt(400)
  assert resampled(of_images).std() == pytest.approx(expected, rel=0.05)


def test_an_area_is_the_mean_accuracy_over_shares_up_to_a_fifth():
  # From everything sent to nothing, as thresholds rise: 0.5 + share, up to 0.2; then level.
  counts = SimpleNamespace(cloud=np.array([100, 20, 10, 0]), correct=np.array([70, 70, 60, 50]))
  curve = SimpleNamespace(counts=counts, records=SimpleNamespace(label=np.zeros(100)))
  assert area(curve) == pytest.approx(0.6)


def test_a_budget_is_kept_only_at_every_share():
  correct = np.ones(1, bool)
  found = {0.0: Operating(0.0, 100.0, correct), 0.1: Operating(0.1, 90.0, correct)}
  assert within(found, 100) is found
  assert within(found, 94) is None


def test_a_section_replaces_its_own_and_leaves_the_others():
  page = with_section("", "## digits\n\nold")
  assert page.count("Not measured.") == len(KNOWN) - 1
  page = with_section(page, "## fashion_mnist\n\nmeasured")
  page = with_section(page, "## digits\n\nnew\n\n### part\n\nof it")
  assert "\nold" not in page
  assert "Not measured." not in page
  assert page.endswith("## digits\n\nnew\n\n### part\n\nof it\n\n## fashion_mnist\n\nmeasured\n")


def test_what_to_deploy_may_send_less_than_it_may():
  def always(right: int) -> dict[float, Operating]:
    correct = np.arange(10) < right
    return {share: Operating(min(share, 0.1), 1e6, correct) for share in (0.0, 0.05, 0.1, 0.2)}

  systems = {"static": always(9), "meanet": always(8), "cloud_only": always(10)}
  text = most_accurate([SimpleNamespace(systems=systems)])
  assert text.count("`static` (90.00, 1.000 MMAC)") == 4
  assert "`cloud_only`" not in text


def test_one_seed_has_no_deviation():
  assert spread([1.0], 1) == "1.0"
  assert spread([1.0, 3.0], 1) == "2.0 ± 1.4"
