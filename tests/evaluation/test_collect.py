"""Records made by running networks, and read again: the same evaluation, or a refusal."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.parsing import resolve
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from meanet_jax.evaluation import collect
from meanet_jax.evaluation.evaluate import evaluate, threshold_images
from meanet_jax.evaluation.fitting import selection_part
from meanet_jax.evaluation.records import LabelledLogits
from meanet_jax.evaluation.records_file import load_records, save_records
from meanet_jax.evaluation.study import fit_temperatures
from meanet_jax.files import read_json, write_json
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.restore import load_variables
from meanet_jax.training.train import train
from tests.forked_commands import run_command

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def run(finished_run, tmp_path) -> RunDirectory:
  """A copy of the finished run that tests may write to."""
  shutil.copytree(finished_run.path, tmp_path / "run")
  return RunDirectory.existing(tmp_path / "run")


def set_field(run: RunDirectory, group: str, name: str, value) -> None:
  config = read_json(run.config_path)
  config[group][name] = value
  write_json(run.config_path, config)


def texts(run: RunDirectory) -> dict[str, bytes]:
  names = ("summary.json", "operating_points.csv", "exact_points.csv", "report.html")
  return {name: (run.eval_path / name).read_bytes() for name in names}


@pytest.mark.parametrize(
  ("calibrate", "constraints"),
  [
    (False, None),
    (True, Constraints(max_offload=0.3, confidence=0.9)),
    (False, Constraints(offload_penalty=0.01)),
  ],
  ids=["configured", "confident", "penalty"],
)
def test_reused_records_give_the_same_bytes_and_run_no_network(
  run, monkeypatch, calibrate, constraints
):
  set_field(run, "routing", "calibrate", calibrate)
  evaluate_run(run.path, constraints)
  expected = texts(run)
  summary = read_json(run.eval_path / "summary.json")
  asked = constraints or run.config().evaluation.constraints
  assert summary["constraints"] == asked.to_json()
  renamed = asked.to_json() | {"price": asked.offload_penalty}
  del renamed["offload_penalty"]
  assert summary["wish"] == renamed  # as earlier versions named them

  def never(*args, **kwargs):
    raise AssertionError("a network was run")

  monkeypatch.setattr(collect, "ForwardPass", never)
  for file in expected:
    (run.eval_path / file).unlink()
  evaluate_run(run.path, constraints, reuse_records=True)
  assert texts(run) == expected
  if calibrate:
    # Temperature is in the records; its figures before and after are in the summary all the same.
    calibration = read_json(run.eval_path / "summary.json")["calibration"]["main"]
    assert calibration["temperature"] != 1
    keys = ("expected_calibration_error", "expected_calibration_error_with_temperature")
    assert calibration[keys[0]] != calibration[keys[1]]


def test_records_of_the_same_directory_trained_further_are_refused(run):
  evaluate_run(run.path)
  config = run.config()
  cloud = dataclasses.replace(config.stages.cloud, epochs=3)
  write_json(run.config_path, read_json(run.config_path) | {"stages": stages_json(run, 3)})
  train(
    dataclasses.replace(config, stages=dataclasses.replace(config.stages, cloud=cloud)),
    run.path,
  )
  before = texts(run)
  with pytest.raises(UserError, match=r"holds records of another run or split, validation-\w+\.\."):
    evaluate_run(run.path, reuse_records=True)
  assert texts(run) == before
  evaluate_run(run.path)
  assert texts(run)["summary.json"] != before["summary.json"]


def stages_json(run: RunDirectory, cloud_epochs: int) -> dict:
  stages = read_json(run.config_path)["stages"]
  stages["cloud"]["epochs"] = cloud_epochs
  return stages


def test_other_hard_classes_other_seeds_and_swapped_files_are_refused(
  run, tiny, tmp_path, monkeypatch
):
  evaluate_run(run.path)
  paths = [run.eval_path / f"{name}.npz" for name in ("records", "records_validation")]
  kept = [path.read_bytes() for path in paths]
  for path, other in zip(paths, reversed(kept), strict=True):
    path.write_bytes(other)
  with pytest.raises(UserError, match=r"another run or split, test-.*; accepted: validation-"):
    evaluate_run(run.path, reuse_records=True)
  for path, own in zip(paths, kept, strict=True):
    path.write_bytes(own)
  hard = read_json(run.hard_classes_path)
  easy = next(c for c in range(10) if c not in hard["classes"])
  write_json(run.hard_classes_path, hard | {"classes": sorted([*hard["classes"][1:], easy])})
  with pytest.raises(UserError, match="another run"):
    evaluate_run(run.path, reuse_records=True)
  write_json(run.hard_classes_path, hard)
  evaluate_run(run.path, reuse_records=True)

  # Another seed: its fresh variables stand for what it would have trained.
  other = dataclasses.replace(tiny, seed=7)
  empty = RunDirectory.create(tmp_path / "empty", other)
  monkeypatch.setattr(
    "meanet_jax.evaluation.evaluate.load_variables",
    lambda _, m, d, __: load_variables(other, m, d, empty),
  )
  with pytest.raises(UserError, match="another run"):
    evaluate_run(run.path, reuse_records=True)


def test_missing_and_truncated_records_end_in_one_line(run):
  command = ["eval.py", f"--workdir={run.path}", "--reuse-records"]

  def fails() -> str:
    result = run_command(*command)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    return line

  line = fails()
  assert line.startswith("error: records ")
  assert "records_validation.npz do not exist; accepted: the file as meanet eval wrote it" in line
  assert not run.eval_path.exists()
  evaluate_run(run.path)
  assert run_command(*command).returncode == 0
  path = run.eval_path / "records.npz"
  path.write_bytes(path.read_bytes()[:-200])
  assert (
    "records.npz holds no complete records: it is no npz archive, or a truncated one" in fails()
  )


def test_nan_logits_of_a_real_network_are_refused(run, monkeypatch):
  def broken(*args):
    variables = load_variables(*args)
    dense = variables["cloud"]["params"]["head"]["dense"]
    dense["bias"] = np.full_like(dense["bias"], np.nan)
    return variables

  monkeypatch.setattr("meanet_jax.evaluation.evaluate.load_variables", broken)
  count = len(load(run.config().dataset).validation)
  with pytest.raises(UserError, match=f"exit cloud has NaN or infinite logits for {count} of"):
    evaluate_run(run.path)
  assert not run.eval_path.exists()


def test_a_confidence_needs_a_calibration_part(run):
  set_field(run, "evaluation", "calibration_fraction", 0.0)
  with pytest.raises(UserError, match=r"evaluation\.calibration_fraction is 0; accepted: a run"):
    evaluate_run(run.path, Constraints(max_offload=0.2, confidence=0.9))
  assert not run.eval_path.exists()
  set_field(run, "evaluation", "constraints", Constraints(0.2, confidence=0.9).to_json())
  with pytest.raises(UserError, match=r"calibration_fraction is 0; accepted: above 0 with"):
    resolve(read_json(run.config_path))


def test_too_small_a_calibration_part_says_how_many_images_it_needs(run):
  part = calibration_part(len(load(run.config().dataset).validation), 0.4, 0)
  with pytest.raises(UserError, match=rf"has {part.sum()} images, too few .* at least 299"):
    evaluate_run(run.path, Constraints(min_accuracy=0.99, confidence=0.95))


def test_confident_thresholds_and_temperatures_come_from_parts_that_do_not_meet(run, tiny):
  """Logits elsewhere in the validation split may say anything: the other selection stays."""
  constraints = Constraints(max_offload=0.3, confidence=0.9)
  evaluate_run(run.path, constraints)
  before = texts(run)
  count = len(load(tiny.dataset).validation)
  part = threshold_images(tiny, constraints, count)
  assert 0 < part.sum() < count
  assert threshold_images(tiny, Constraints(max_offload=0.3), count).all()
  path = run.eval_path / "records_validation.npz"
  stored = load_records(path, None)
  shuffled = jax.tree.map(lambda v: np.where(part[:, None], v, v[::-1]), stored.logits)
  save_records(path, stored._replace(logits=shuffled))
  evaluate_run(run.path, constraints, reuse_records=True)
  assert texts(run)["operating_points.csv"] == before["operating_points.csv"]
  # The temperatures, from logits of which the calibration part is spoilt.
  spoilt = jax.tree.map(lambda v: np.where(part[:, None], -v, v), stored.logits)
  first, second, third = (
    fit_temperatures(
      *selection_part(tiny, LabelledLogits(logits, stored.labels)), stored.hard_classes
    )
    for logits in (stored.logits, spoilt, shuffled)
  )
  assert first == second
  assert first != third


def test_every_policy_can_be_evaluated_from_the_records(run, monkeypatch):
  """Also the temperatures: with logits on disk nothing has to be computed anew."""
  evaluate_run(run.path)
  monkeypatch.setattr(collect, "ForwardPass", None)
  for field, value in (("offload", "late"), ("criterion", "margin"), ("calibrate", True)):
    set_field(run, "routing", field, value)
    found = evaluate(run, Constraints(max_offload=0.3), "always")
    point = found.operating_point
    got = getattr(point.policy, field) if field != "calibrate" else point.temperatures.main != 1
    assert got == value
