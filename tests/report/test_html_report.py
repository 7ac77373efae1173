"""The text of report.html: what it holds, and that no name can break it."""

import json

import numpy as np

from meanet_jax.report.html_report import EXAMPLES_PER_KIND, report_page
from meanet_jax.runs.files import read_json
from tests.evaluation.invented import NAMES, invented


def test_names_cannot_break_the_page():
  page = report_page(invented(np.random.default_rng(0)))
  assert "<script>boom" not in page
  assert page.count("</script>") == 3
  # What a browser reads up to the end tag: neither `</script ` nor `<!--` can stand in it.
  data = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
  assert not set("<>&") & set(data)
  assert json.loads(data)["classes"] == list(NAMES)
  assert "on validation images that selected nothing else" in page
  assert "with probability 0.95 (Learn then Test)" in page
  assert "Images that cannot be decoded were left out: 3 of train." in page
  assert "<i>invented" not in page
  assert "&lt;i&gt;invented" in page
  assert "<p>meanet: &lt;u&gt;out of reach</p>" in page
  assert page.count('class="right">right: 40</h4>') == 1
  assert page.count('class="right">right: none</h4>') == 2
  assert page.count('class="wrong">wrong: none</h4>') == 3
  assert page.count("<figure>") == EXAMPLES_PER_KIND
  assert "balanced accuracy 100.00&nbsp;%, macro F1 -&nbsp;%" in page
  assert "<td>naïve ☃</td>" in page


def test_the_page_has_the_configuration_and_versions(evaluated_run):
  page = (evaluated_run / "eval" / "report.html").read_text(encoding="utf-8")
  environment = read_json(evaluated_run / "environment.json")
  for package, version in environment["packages"].items():
    assert f"<td>packages.{package}</td><td>{version}</td>" in page
  config = read_json(evaluated_run / "config.json")
  epochs = config["stages"]["edge"]["epochs"]
  assert f"<td>stages.edge.epochs</td><td>{epochs}</td>" in page
  assert f"<td>dataset.name</td><td>{config['dataset']['name']}</td>" in page


def test_the_page_has_every_class(evaluated_run):
  page = (evaluated_run / "eval" / "report.html").read_text(encoding="utf-8")
  entry = read_json(evaluated_run / "eval" / "summary.json")["systems"]["meanet"]
  columns = entry["per_class"]
  ratios = (columns["recall"], columns["precision"], columns["f1"], *columns["fraction"].values())
  for name, support, *values in zip(columns["names"], columns["support"], *ratios, strict=True):
    cells = "".join(f"<td>{'-' if v is None else f'{100 * v:.2f}'}</td>" for v in values)
    assert f"<td>{name}</td><td>{support}</td>{cells}" in page
  assert f"balanced accuracy {100 * entry['balanced_accuracy']:.2f}&nbsp;%" in page
