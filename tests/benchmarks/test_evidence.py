"""The evidence's own arithmetic: differences, areas and the page."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.evidence import levers
from benchmarks.evidence.__main__ import BUDGETS, static_budgets
from benchmarks.evidence.figure import LEVEL, SENDING, draw, evidence_figure
from benchmarks.evidence.measure import SHARES, Measured, Operating, area, within
from benchmarks.evidence.page import (
  KNOWN,
  at_budgets,
  differences_at_budgets,
  most_accurate,
  spread,
  with_section,
)
from benchmarks.evidence.paired import paired_difference, resampled
from meanet_jax.errors import UserError
from meanet_jax.report.colours import STYLES
from meanet_jax.routing.hard_classes import HardClasses


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


def test_systems_are_compared_at_the_budgets_that_both_keep_with_every_seed():
  def right(count: int) -> dict[float, Operating]:
    return {share: Operating(share, 2e6, np.arange(1000) < count) for share in (0.0, 0.05, 0.1)}

  others = {"main_cloud": right(700), "static_cloud": right(900)}
  budgets = [
    {
      1e6: {**others, "paper": None, "meanet": None},
      2e6: {**others, "paper": paper, "meanet": ours},
    }
    for paper, ours in ((right(800), right(900)), (None, right(940)))
  ]
  _, rows = at_budgets(budgets)
  of_paper, of_meanet = (row for row in rows[4:] if row[1] in ("`paper`", "`meanet`"))
  assert of_paper == ["2", "`paper`", "-", "-", "-", "-"]
  assert of_meanet == ["2", "`meanet`", *["92.00 ± 2.83"] * 3, "2.000 ± 0.000"]
  head, rows = differences_at_budgets(budgets)
  assert head == ["budget [MMAC]", "`meanet` less", "0%", "5%", "10%"]
  assert [row[:2] for row in rows] == [["2", "`main_cloud`"], ["2", "`static_cloud`"]]
  assert all(cell.startswith("**+22.00 [+1") for cell in rows[0][2:])
  assert all(re.fullmatch(r"\+2\.00 \[\+0\.00, \+[45]\.\d\d\]", cell) for cell in rows[1][2:])


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


def test_static_budgets_are_those_of_the_table():
  assert static_budgets("digits", []) == []
  assert static_budgets("digits", [0.18, 0.03]) == [0.18e6, 0.03e6]
  for name, budgets in BUDGETS.items():
    assert static_budgets(name, [macs / 1e6 for macs in budgets]) == [*budgets]
  with pytest.raises(UserError, match=r"is 0\.5; accepted: 0\.015, 0\.03, 0\.06, 0\.18$"):
    static_budgets("digits", [0.18, 0.5])
  with pytest.raises(UserError, match="accepted: none, as imagenet has no edge budgets"):
    static_budgets("imagenet", [1])


def test_a_lever_may_not_be_a_field_of_main_or_cloud():
  levers.check(["model.join_dropout=0", "stages.edge.epochs=3"])
  for change in ("stages.main.epochs=3", "model.cloud.dropout=0.1", "stages.edge.epochs", "seed=1"):
    with pytest.raises(UserError, match=f"flag --lever has '{re.escape(change)}'; accepted"):
      levers.check(["model.join_dropout=0", change])


def test_levers_are_compared_with_the_configuration_in_pairs():
  def trained(right: np.ndarray) -> levers.Trained:
    points = {share: Operating(share, 1e6, right) for share in levers.SHARES}
    paper = {levers.PAPER_AT: Operating(levers.PAPER_AT, 2e6, right & (np.arange(1000) >= 100))}
    return levers.Trained(points, paper, 0.5)

  some = np.arange(1000) < 900
  found = {
    "as configured": [trained(some)] * 2,
    "`a=1`": [trained(np.arange(1000) < 950)] * 2,
    "`b=2`": [trained(some[::-1])] * 2,
  }
  text = levers.section_text("digits", "the command", found)
  assert text.startswith("## digits, levers\n\n2 seeds. `the command`\n\n")
  better, other = (line for line in text.splitlines() if line.startswith("| `"))
  assert re.search(r"\| 95\.00 ± 0\.00 \| \*\*\+5\.00 \[\+3\.\d+, \+6\.\d+\]\*\*", better)
  assert re.search(r" \| ([+-]0\.00) \[-\d\.\d+, \+\d\.\d+\] \| \1 ", other)
  # By the paper's rules 85% are right, of the first row's 90%.
  assert re.search(r"\| 85\.00 ± 0\.00 \| \*\*\+5\.00 \[\+\d\.\d+, \+\d\.\d+\]\*\* \|$", better)


def test_an_extensions_own_accuracy_is_over_the_classes_that_it_has():
  hard = HardClasses(np.array([1, 3]), 4)
  logits = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])  # classes 3, 1, 1
  assert levers._own_accuracy(logits, np.array([3, 3, 0]), hard) == 0.5
  every = HardClasses(np.array([1, 3]), 4, "all")
  assert levers._own_accuracy(np.eye(4)[[3, 3, 0]], np.array([3, 2, 0]), every) == pytest.approx(
    2 / 3
  )


def invented_seed(right: dict[str, int]) -> Measured:
  """Of 1,000 images, by system how many are right where none is sent; two more at each share.

  The edge of the first system costs 1 to 1.8 MMAC, that of the others 1.
  """
  systems = {
    name: {
      share: Operating(
        share,
        1e6 + 0.2e6 * place * (name == next(iter(SENDING))),
        np.arange(1000) < count + 2 * place * (name in SENDING),
      )
      for place, share in enumerate(SHARES)
    }
    for name, count in right.items()
  }
  return Measured(np.zeros(1000, np.int32), systems, {}, {})


def test_the_figure_has_a_line_for_each_that_sends_and_a_level_for_each_other(tmp_path):
  names = [*SENDING, *LEVEL]
  seeds = [
    invented_seed({name: 900 + 10 * place + 6 * seed for place, name in enumerate(names)})
    for seed in range(2)
  ]
  axes = evidence_figure("digits", seeds).axes[0]
  lines = {container.get_label(): container.lines for container in axes.containers}
  first, *others = SENDING.values()
  labels = [f"{first}: 1 to 1.8 MMAC", *(f"{words}: 1 MMAC" for words in others)]
  assert [*lines] == labels
  for place, (system, label) in enumerate(zip(SENDING, labels, strict=True)):
    line, _, (bars,) = lines[label]
    np.testing.assert_allclose(
      line.get_ydata(orig=False), 90.3 + place + 0.2 * np.arange(5), rtol=1e-12
    )
    np.testing.assert_allclose(line.get_xdata(orig=False), 100 * np.array(SHARES), atol=0.25)
    assert line.get_color() == STYLES[system].colour
    lengths = [np.diff(segment[:, 1])[0] for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, 2 * 0.6 / np.sqrt(2), rtol=1e-9)
  levels = {
    line.get_label(): line.get_ydata() for line in axes.lines if line.get_label() in LEVEL.values()
  }
  for place, words in enumerate(LEVEL.values(), len(SENDING)):
    assert levels[words] == pytest.approx([90.3 + place] * 2)
  drawn = draw(tmp_path / "evidence_digits.svg", "digits", seeds).read_bytes()
  assert drawn == draw(tmp_path / "evidence_digits.svg", "digits", seeds).read_bytes()
  assert len(drawn) <= 60_000
  for words in (*labels, *LEVEL.values()):
    assert f">{words}</text>".encode() in drawn
  # A background of its own: the first thing drawn is all of it, in white.
  filled = re.search(
    rb'<g id="patch_1">\s*<path d="M 0 [\d. L\n]+z\s*" style="fill: #ffffff', drawn
  )
  assert filled is not None


def test_the_figure_shows_the_systems_that_there_are_and_one_seed(tmp_path):
  axes = evidence_figure("own", [invented_seed({"meanet": 900, "main_only": 890})]).axes[0]
  assert [container.get_label() for container in axes.containers] == [
    f"{SENDING['meanet']}: 1 to 1.8 MMAC"
  ]
