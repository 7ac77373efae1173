import csv
import html
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.errors import UserError
from meanet_jax.files import read_json, write_json
from meanet_jax.report import figures
from meanet_jax.report.compare import compare
from meanet_jax.report.figures import draw_bands
from meanet_jax.report.write import evaluate_run


@pytest.fixture
def two_runs(evaluated_run, tmp_path) -> list[str]:
  """The same run, evaluated under two constraints."""
  for name, share in (("a", 0.1), ("b", 0.4)):
    shutil.copytree(evaluated_run, tmp_path / name)
    constraints = Constraints(max_offload=share, spend_budget=True)
    evaluate_run(tmp_path / name, constraints, reuse_records=True)
  return [str(tmp_path / name) for name in ("a", "b")]


def entries_of(tmp_path, system: str) -> float:
  return read_json(tmp_path / "a" / "eval" / "summary.json")["systems"][system]["accuracy"]


def test_means_and_spreads_over_runs(two_runs, tmp_path, printed):
  compare(two_runs, tmp_path / "out")
  found = read_json(tmp_path / "out" / "comparison.json")
  assert found["runs"] == two_runs
  entries = [
    read_json(tmp_path / name / "eval" / "summary.json")["systems"]["meanet"] for name in ("a", "b")
  ]
  accuracies = [entry["accuracy"] for entry in entries]
  spread = found["systems"]["meanet"]["accuracy"]
  assert spread["mean"] == pytest.approx(statistics.mean(accuracies))
  assert spread["standard_deviation"] == pytest.approx(statistics.stdev(accuracies))
  shares = [entry["fraction"]["cloud"] for entry in entries]
  assert shares[0] < shares[1]
  assert found["systems"]["meanet"]["cloud"]["mean"] == pytest.approx(statistics.mean(shares))
  assert found["systems"]["main_only"]["accuracy"]["standard_deviation"] == 0
  # The two runs have one curve: their accuracy at any offload is the same.
  at_offload = found["accuracy_at_offload"]["meanet"]
  assert max(at_offload["standard_deviation"]) == pytest.approx(0, abs=1e-12)
  assert at_offload["mean"][100] == pytest.approx(entries_of(tmp_path, "cloud_only"))
  assert at_offload["mean"][0] == pytest.approx(entries_of(tmp_path, "edge_only"))
  assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")
  page = (tmp_path / "out" / "comparison.html").read_text()
  # One file: the numbers of the plot are in it.
  data = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
  drawn = json.loads(data)
  assert drawn.keys() == found["accuracy_at_offload"].keys()
  for name, line in found["accuracy_at_offload"].items():
    assert drawn[name].items() >= line.items()
  for workdir, share in zip(two_runs, (0.1, 0.4), strict=True):
    sentence = read_json(Path(workdir, "eval", "summary.json"))["verdict"]["sentence"]
    cells = f"<td>max_offload {share}, spend_budget</td><td>{html.escape(sentence)}</td>"
    assert f'<tr><th scope="row">{workdir}</th>{cells}</tr>' in page
  said = printed()
  assert "constraints: max_offload 0.1, spend_budget; max_offload 0.4, spend_budget" in said

  with pytest.raises(UserError, match="is given twice; accepted: different runs"):
    compare([two_runs[0], two_runs[1], two_runs[0] + "/../a"], tmp_path / "out")

  other = json.loads((tmp_path / "b" / "eval" / "summary.json").read_text()) | {"dataset": "x"}
  write_json(tmp_path / "b" / "eval" / "summary.json", other)
  with pytest.raises(UserError, match=r"runs differ in dataset: \['digits', 'x'\]"):
    compare(two_runs, tmp_path / "out")


def test_an_unmet_constraint_of_one_run_is_told_of(evaluated_run, tmp_path, printed):
  for name in ("a", "b"):
    shutil.copytree(evaluated_run, tmp_path / name)
  path = tmp_path / "b" / "eval" / "summary.json"
  summary = read_json(path)
  summary["systems"]["meanet"]["unmet"] = "no threshold keeps <min-accuracy> 0.999"
  write_json(path, summary)
  runs = [str(tmp_path / name) for name in ("a", "b")]
  compare(runs, tmp_path / "out")
  line = f"{runs[1]}: meanet: no threshold keeps <min-accuracy> 0.999"
  assert read_json(tmp_path / "out" / "comparison.json")["unmet"] == [line]
  assert printed().splitlines()[-1] == f"warning: {line}"
  page = (tmp_path / "out" / "comparison.html").read_text()
  assert page.count("Constraints not met:") == 1
  assert "no threshold keeps &lt;min-accuracy&gt; 0.999" in page


def with_other_points(
  run: Path, directory: Path, change: Callable[[list[dict]], list[dict]]
) -> list[str]:
  """A run twice, the second time with changed rows of its operating_points.csv."""
  for name in ("a", "b"):
    shutil.copytree(run, directory / name)
  path = directory / "b" / "eval" / "operating_points.csv"
  with path.open() as file:
    rows = list(csv.DictReader(file))
  with path.open("w") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(change(rows))
  return [str(directory / name) for name in ("a", "b")]


def test_bands_are_of_the_deviation_of_a_sample(evaluated_run, tmp_path):
  """Of two accuracies that differ by 0.2 it is 0.2 / sqrt(2), and not 0.1."""

  def less_accurate(rows: list[dict]) -> list[dict]:
    return [row | {"accuracy": float(row["accuracy"]) - 0.2} for row in rows]

  compare(with_other_points(evaluated_run, tmp_path, less_accurate), tmp_path / "out")
  at_offload = read_json(tmp_path / "out" / "comparison.json")["accuracy_at_offload"]["meanet"]
  np.testing.assert_allclose(at_offload["standard_deviation"], 0.2 / np.sqrt(2), rtol=1e-9)


def test_shares_that_no_threshold_sends_have_no_accuracy(evaluated_run, tmp_path, printed):
  """As where a third of the images have an uncertainty of exactly 0."""
  kept: list[dict] = []

  def few_sent(rows: list[dict]) -> list[dict]:
    kept.extend(row for row in rows if float(row["fraction_cloud"]) <= 0.15)
    return kept

  compare(with_other_points(evaluated_run, tmp_path, few_sent), tmp_path / "out")
  text = (tmp_path / "out" / "comparison.json").read_text()
  assert "NaN" not in text
  largest = max(float(row["fraction_cloud"]) for row in kept if row["system"] == "meanet")
  assert 0.05 < largest < 0.15
  at_offload = json.loads(text)["accuracy_at_offload"]["meanet"]
  for values in at_offload.values():
    assert [value is not None for value in values] == [
      percent / 100 <= largest for percent in range(101)
    ]
  lines = [line for line in printed().splitlines() if "of the test images sent" in line]
  assert [("meanet -" in line) for line in lines] == [p > 100 * largest for p in (5, 10, 20)]
  page = (tmp_path / "out" / "comparison.html").read_text()
  (row,) = [row for row in page.split("<tr>") if row.startswith('<th scope="row">50 %</th>')]
  assert set(row.partition("</tr>")[0].split("<td>")[1:]) == {"-</td>"}


def test_the_drawn_band_is_one_deviation_of_a_sample_wide(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure) or path)
  accuracies = {"meanet": np.array([[0.5, 0.7], [0.7, 0.7]])}
  draw_bands(tmp_path, np.array([0.0, 1.0]), accuracies, "digits")
  (band,) = drawn[0].axes[0].collections
  corners = band.get_paths()[0].vertices
  at_zero = corners[corners[:, 0] == 0, 1]
  deviation = 100 * 0.2 / np.sqrt(2)
  assert (at_zero.min(), at_zero.max()) == pytest.approx((60 - deviation, 60 + deviation))


def test_constraints_of_another_version_are_one_line_and_nothing_is_written(
  evaluated_run, tmp_path
):
  for name in ("a", "b"):
    shutil.copytree(evaluated_run, tmp_path / name)
  path = tmp_path / "b" / "eval" / "summary.json"
  summary = read_json(path)
  write_json(path, summary | {"constraints": {"max_watts": 1}})
  runs = [str(tmp_path / name) for name in ("a", "b")]
  with pytest.raises(UserError, match=r"field '\S+/b: constraints.max_watts' is unknown; "):
    compare(runs, tmp_path / "out")
  assert not (tmp_path / "out" / "comparison.json").exists()
