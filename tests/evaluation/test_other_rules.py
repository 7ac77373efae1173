"""A finished run under other rules than those that it was trained with."""

import dataclasses
import shutil

import pytest

from meanet_jax.files import read_json
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


def test_the_same_training_command_with_other_rules_trains_nothing(
  evaluated_run, tiny, tmp_path, said
):
  path = tmp_path / "run"
  shutil.copytree(evaluated_run, path)
  metrics = (path / "metrics.jsonl").read_bytes()
  before = read_json(path / "eval" / "summary.json")["systems"]
  routing = dataclasses.replace(tiny.routing, policy="late")
  train(dataclasses.replace(tiny, routing=routing), path)
  assert (
    "going on with routing.policy ('configured' -> 'late'), which nothing has been made by" in said
  )
  assert (path / "metrics.jsonl").read_bytes() == metrics
  assert RunDirectory(path).config().routing == routing
  evaluate_run(path, reuse_records=True)
  summary = read_json(path / "eval" / "summary.json")
  assert summary["systems"]["paper"] == before["paper"]
  assert summary["policies"]["selected"] == "late"
