"""Records made by running networks, and read again: the same evaluation, or a refusal."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from meanet_jax.evaluation import collect
from meanet_jax.evaluation.pipeline import configured_constraints, evaluate, threshold_images
from meanet_jax.evaluation.records_file import load_records, save_records
from meanet_jax.models.zoo import build
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import read_json, write_json
from meanet_jax.selection.select import Constraints
from meanet_jax.training.pipeline import load_variables, train
from tests.forked_commands import run_command


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
    (False, Constraints(price=0.01)),
  ],
  ids=["configured", "confident", "price"],
)
def test_reused_records_give_the_same_bytes_and_run_no_network(
  run, monkeypatch, calibrate, constraints
):
  set_field(run, "routing", "calibrate", calibrate)
  evaluate(run.path, constraints)
  expected = texts(run)
  asked = read_json(run.eval_path / "summary.json")["wish"]
  assert asked == dataclasses.asdict(constraints or configured_constraints(run.config()))

  def never(*args, **kwargs):
    raise AssertionError("a network was run")

  monkeypatch.setattr(collect, "ForwardPass", never)
  for file in expected:
    (run.eval_path / file).unlink()
  evaluate(run.path, constraints, reuse_records=True)
  assert texts(run) == expected
  if calibrate:
    # Temperature is in the records; its figures before and after are in the summary all the same.
    calibration = read_json(run.eval_path / "summary.json")["calibration"]["main"]
    assert calibration["temperature"] != 1
    keys = ("expected_calibration_error", "expected_calibration_error_with_temperature")
    assert calibration[keys[0]] != calibration[keys[1]]


def test_records_of_the_same_directory_trained_further_are_refused(run):
  evaluate(run.path)
  config = run.config()
  cloud = dataclasses.replace(config.stages.cloud, epochs=3)
  write_json(run.config_path, read_json(run.config_path) | {"stages": stages_json(run, 3)})
  train(
    dataclasses.replace(config, stages=dataclasses.replace(config.stages, cloud=cloud)),
    run.path,
  )
  before = texts(run)
  with pytest.raises(UserError, match=r"holds records of another run or split, validation-\w+\.\."):
    evaluate(run.path, reuse_records=True)
  assert texts(run) == before
  evaluate(run.path)
  assert texts(run)["summary.json"] != before["summary.json"]


def stages_json(run: RunDirectory, cloud_epochs: int) -> dict:
  stages = read_json(run.config_path)["stages"]
  stages["cloud"]["epochs"] = cloud_epochs
  return stages


def test_other_hard_classes_other_seeds_and_swapped_files_are_refused(
  run, tiny, tmp_path, monkeypatch
):
  evaluate(run.path)
  paths = [run.eval_path / f"{name}.npz" for name in ("records", "records_validation")]
  kept = [path.read_bytes() for path in paths]
  for path, other in zip(paths, reversed(kept), strict=True):
    path.write_bytes(other)
  with pytest.raises(UserError, match=r"another run or split, test-.*; accepted: validation-"):
    evaluate(run.path, reuse_records=True)
  for path, own in zip(paths, kept, strict=True):
    path.write_bytes(own)
  hard = read_json(run.hard_classes_path)
  easy = next(c for c in range(10) if c not in hard["classes"])
  write_json(run.hard_classes_path, hard | {"classes": sorted([*hard["classes"][1:], easy])})
  with pytest.raises(UserError, match="another run"):
    evaluate(run.path, reuse_records=True)
  write_json(run.hard_classes_path, hard)
  evaluate(run.path, reuse_records=True)

  # Another seed: its fresh variables stand for what it would have trained.
  other = dataclasses.replace(tiny, seed=7)
  empty = RunDirectory.create(tmp_path / "empty", other)
  monkeypatch.setattr(
    collect, "load_variables", lambda _, m, d, __: load_variables(other, m, d, empty)
  )
  with pytest.raises(UserError, match="another run"):
    evaluate(run.path, reuse_records=True)


def test_missing_and_truncated_records_end_in_one_line(run):
  command = ["eval.py", f"--workdir={run.path}", "--reuse_records"]

  def fails() -> str:
    result = run_command(*command)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    return line

  line = fails()
  assert line.startswith("error: records ")
  assert "records_validation.npz do not exist; accepted: the file as eval.py wrote it" in line
  assert not run.eval_path.exists()
  assert run_command(*command[:-1]).returncode == 0
  assert run_command(*command).returncode == 0
  path = run.eval_path / "records.npz"
  path.write_bytes(path.read_bytes()[:-200])
  assert "records.npz holds no whole records: it is no npz archive, or a truncated one" in fails()


def test_nan_logits_of_a_real_network_are_refused(run, monkeypatch):
  def broken(*args):
    variables = load_variables(*args)
    dense = variables["cloud"]["params"]["head"]["dense"]
    dense["bias"] = np.full_like(dense["bias"], np.nan)
    return variables

  monkeypatch.setattr(collect, "load_variables", broken)
  count = len(load(run.config().dataset).validation)
  with pytest.raises(UserError, match=f"exit cloud has NaN or infinite logits for {count} of"):
    evaluate(run.path)
  assert not run.eval_path.exists()


def test_a_confidence_needs_a_calibration_part(run):
  set_field(run, "evaluation", "calibration_fraction", 0.0)
  with pytest.raises(UserError, match=r"evaluation\.calibration_fraction is 0; accepted: a run"):
    evaluate(run.path, Constraints(max_offload=0.2, confidence=0.9))
  assert not run.eval_path.exists()
  set_field(run, "evaluation", "confidence", 0.9)
  with pytest.raises(UserError, match=r"calibration_fraction is 0; accepted: above 0 with"):
    resolve(read_json(run.config_path))


def test_too_small_a_calibration_part_says_how_many_images_it_needs(run):
  part = calibration_part(len(load(run.config().dataset).validation), 0.4, 0)
  with pytest.raises(UserError, match=rf"has {part.sum()} images, too few .* at least 299"):
    evaluate(run.path, Constraints(min_accuracy=0.99, confidence=0.95))


def test_confident_thresholds_and_temperatures_come_from_parts_that_do_not_meet(run, tiny):
  """Records elsewhere in the validation split may say anything: the other choice stays."""
  set_field(run, "routing", "calibrate", True)
  constraints = Constraints(max_offload=0.3, confidence=0.9)
  evaluate(run.path, constraints)
  before = texts(run)
  count = len(load(tiny.dataset).validation)
  part = threshold_images(tiny, constraints, count)
  assert 0 < part.sum() < count
  assert threshold_images(tiny, Constraints(max_offload=0.3), count).all()
  path = run.eval_path / "records_validation.npz"
  stored = load_records(path, None)
  shuffled = jax.tree.map(lambda v: np.where(part, v, v[::-1]), stored.records)
  save_records(path, stored._replace(records=shuffled))
  evaluate(run.path, constraints, reuse_records=True)
  assert texts(run)["operating_points.csv"] == before["operating_points.csv"]
  # The temperatures, from logits of which the calibration part is spoilt.
  model, dataset = build(tiny), load(tiny.dataset)
  variables = load_variables(tiny, model, dataset, run)
  splits = {"validation": dataset.validation, "test": dataset.test}
  logits = collect._logits(tiny, model, variables, splits)
  spoilt = jax.tree.map(lambda v: np.where(part[:, None], -v, v), logits["validation"])
  hard = np.array(read_json(run.hard_classes_path)["classes"], np.int32)
  identity = dict.fromkeys(splits, "x")
  first, second = (
    collect._records(tiny, of, splits, hard, identity)["test"].calibration
    for of in (logits, logits | {"validation": spoilt})
  )
  assert first == second
