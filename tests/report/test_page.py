"""The text of report.html: what it holds, and that no name can break it."""

import json
import re

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from meanet_jax.files import read_json
from meanet_jax.report.figures import LONGEST_NAME
from meanet_jax.report.page.diagrams import glossary
from meanet_jax.report.page.examples import PER_KIND
from meanet_jax.report.page.learning import MOST_POINTS, learning_curves
from meanet_jax.report.page.page import report_page
from tests.evaluation.invented import NAMES, invented


def test_names_cannot_break_the_page():
  page = report_page(invented(np.random.default_rng(0)))
  assert "<script>boom" not in page
  assert page.count("</script>") == 3
  assert "on validation images that selected nothing else" in page
  assert "with probability 0.95 (Learn then Test)" in page
  assert "Images that cannot be decoded were left out: 3 of train." in page
  assert "<i>invented" not in page
  assert "&lt;i&gt;invented" in page
  assert "<p>meanet: &lt;u&gt;out of reach</p>" in page
  assert page.count('class="right">right: 40</h4>') == 1
  assert page.count('class="right">right: none</h4>') == 2
  assert page.count('class="wrong">wrong: none</h4>') == 3
  assert page.count("<figure>") == PER_KIND
  assert "balanced accuracy 100.00 %, macro F1 100.00 %" in page
  assert '<th scope="row">naïve ☃</th>' in page
  # What a browser reads up to the end tag: neither `</script ` nor `<!--` can stand in it.
  data = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
  assert not set("<>&") & set(data)
  assert json.loads(data)["classes"] == list(NAMES)
  assert max(map(len, json.loads(data)["ticks"])) <= LONGEST_NAME


def test_the_verdict_and_what_was_asked_come_first():
  page = report_page(invented(np.random.default_rng(0)))
  titles = re.findall("<h2[^>]*>(.*?)</h2>", page)
  assert titles[0] == "What to use"
  first = page[: page.index('id="systems"')]
  assert "<b>Verdict:</b> no system keeps &lt;min_accuracy&gt; 1." in first
  cells = ("share sent", "at most 20.0%", "10.0%", "25.0% [12.5, 50.0]", "no")
  row = "".join(f"<td>{cell}</td>" for cell in cells)
  assert f'<tr><th scope="row">meanet</th>{row}</tr>' in first
  assert "device profile &lt;s&gt;board, energy is estimated, latency is measured." in first


def test_it_says_what_is_estimated_and_what_is_measured():
  page = report_page(invented(np.random.default_rng(0)))
  assert "energy [mJ], estimated</th>" in page
  assert "latency [ms], measured</th>" in page
  assert "<dt>edge energy, estimated</dt>" in page
  assert "<dt>latency, p95, measured</dt>" in page


def test_every_system_has_a_line_and_a_picture():
  page = report_page(invented(np.random.default_rng(0)))
  for name in ("main_cloud", "meanet"):
    assert f'role="img" aria-label="{name}: image to main' in page
    assert f"<dt>{name}</dt><dd>" in page


def drawn(name: str, **policy: str) -> str:
  return glossary({name: {"operating_point": {"policy": policy}}}, name)


@pytest.mark.parametrize(
  ("hard_rule", "offload", "arrows", "line"),
  [
    (
      "argmax",
      "early",
      "image to main, main to extension, main to cloud",
      "main, the extension where main predicts a hard class and the cloud where main is unsure",
    ),
    (
      "uncertain",
      "late",
      "image to main, main to extension, extension to cloud, main to cloud",
      "the extension where main is unsure and the cloud where the exit that answers is unsure",
    ),
    ("argmax", "never", "image to main, main to extension", "where main predicts a hard class"),
    ("never", "late", "image to main, main to cloud", "main and the cloud where the exit"),
    ("never", "never", "image to main", "main"),
  ],
)
def test_a_system_is_drawn_and_described_by_its_policy(hard_rule, offload, arrows, line):
  found = drawn("meanet", hard_rule=hard_rule, offload=offload)
  assert f'aria-label="meanet: {arrows}"' in found
  words = found[found.index("<dd>") + 4 : found.index("</dd>")]
  assert words.startswith("the policy selected on validation: main")
  assert line in words
  assert ('class="extension"' in found) == (hard_rule != "never")
  assert ('class="cloud"' in found) == (offload != "never")


@pytest.mark.parametrize(
  ("hard_rule", "rule"),
  [("argmax", "hard?"), ("uncertain", "unsure?"), ("argmax_uncertain", "hard, unsure?")],
)
def test_the_arrow_to_the_extension_says_its_rule(hard_rule, rule):
  found = drawn("edge_only", hard_rule=hard_rule, offload="never")
  assert re.findall('class="rule">(.*?)<', found) == [rule]


def test_a_tie_among_hard_classes_is_said():
  page = report_page(invented(np.random.default_rng(0)))
  assert "naïve ☃ are hard, and &lt;/script&gt;" in page
  assert "of 50.00 % are not; decided by lower recall." in page


def test_learning_curves_are_thinned_and_keep_their_last_point():
  lines = [
    {"stage": "main", "step": step, "epoch": step / 10, "loss": 1 / step} for step in range(1, 1001)
  ]
  lines += [{"stage": "main", "step": 1000, "epoch": 100.0, "validation_accuracy": 0.5}]
  found = learning_curves(lines)["main"]
  epochs, losses = found["loss"]
  assert len(epochs) <= MOST_POINTS
  assert (epochs[-1], losses[-1]) == (100.0, 0.001)
  assert found["validation_accuracy"] == ([100.0], [0.5])
  assert learning_curves(()) == {}


def test_the_page_is_small_without_the_plotting_library(evaluated_run):
  page = (evaluated_run / "eval" / "report.html").read_text(encoding="utf-8")
  assert len(page.encode()) - len(get_plotlyjs().encode()) < 2_000_000
  large = report_page(invented(np.random.default_rng(0)))  # images of noise, larger than shown
  assert len(large.encode()) - len(get_plotlyjs().encode()) < 1_000_000


def test_the_page_has_the_configuration_and_versions(evaluated_run):
  page = (evaluated_run / "eval" / "report.html").read_text(encoding="utf-8")
  environment = read_json(evaluated_run / "environment.json")
  for package, version in environment["packages"].items():
    shown = "null" if version is None else version  # of a package that is not installed
    assert f'<th scope="row">packages.{package}</th><td>{shown}</td>' in page
  config = read_json(evaluated_run / "config.json")
  epochs = config["stages"]["edge"]["epochs"]
  assert f'<th scope="row">stages.edge.epochs</th><td>{epochs}</td>' in page
  assert f'<th scope="row">dataset.name</th><td>{config["dataset"]["name"]}</td>' in page


def test_the_page_has_every_class(evaluated_run):
  page = (evaluated_run / "eval" / "report.html").read_text(encoding="utf-8")
  systems = read_json(evaluated_run / "eval" / "summary.json")["systems"]
  assert f"balanced accuracy {100 * systems['meanet']['balanced_accuracy']:.2f} %" in page
  for system, entry in systems.items():
    if system in ("random", "oracle"):
      continue
    of_system = page.split("Figures of every class")[1]
    if system != "meanet":
      of_system = page.split(f'aria-label="Figures of every class, {system}"')[1]
    of_system = of_system[: of_system.index("</table>")]
    columns = entry["per_class"]
    ratios = (columns["recall"], columns["precision"], columns["f1"], *columns["fraction"].values())
    for name, support, *values in zip(columns["names"], columns["support"], *ratios, strict=True):
      cells = "".join(f"<td>{'-' if v is None else f'{100 * v:.2f}'}</td>" for v in values)
      assert f'<th scope="row">{name}</th><td>{support}</td>{cells}' in of_system
