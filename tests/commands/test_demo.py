"""`meanet demo` trains and evaluates as the two commands do."""

from pathlib import Path

import pytest

from meanet_jax.commands import evaluate, train
from meanet_jax.commands.app import main
from tests.forked_commands import run_command


def test_the_demo_calls_both_commands(monkeypatch, printed, tmp_path):
  calls = []
  monkeypatch.setattr(train, "run", lambda given: calls.append(given))
  monkeypatch.setattr(evaluate, "run", lambda given: calls.append(given) or 3)
  assert main(["demo", "--config.seed=1", "--compilation-cache="]) == 3
  training, evaluation = calls
  assert (training.config, training.workdir) == ("digits", "runs/digits")
  assert [tuple(field) for field in training.fields] == [("seed", "1")]
  assert training.compilation_cache == evaluation.compilation_cache == ""
  assert evaluation.workdir == ["runs/digits"]
  assert "open runs/digits/eval/report.html in a browser" in printed()


@pytest.mark.full
def test_the_demo_leaves_a_report(tmp_path: Path):
  short = [f"--config.stages.{stage}.epochs=2" for stage in ("main", "edge", "cloud")]
  done = run_command("-m", "meanet_jax", "demo", f"--workdir={tmp_path / 'run'}", *short)
  assert done.returncode in (0, 3), done.stderr
  assert (tmp_path / "run" / "eval" / "report.html").is_file()
