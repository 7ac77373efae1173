import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from meanet_jax.config.schema import Config
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.data.sources import load
from meanet_jax.errors import TrainingDivergedError, UserError
from meanet_jax.evaluation.evaluate import evaluate
from meanet_jax.files import read_json
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.runs.checkpoints import finished_step, open_checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training import run_stage, stages
from meanet_jax.training.context import RunContext
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.hard_classes import read_confusion
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import replicate
from meanet_jax.training.restore import load_variables, read_hard_classes, read_label_map
from meanet_jax.training.stage_images import stage_images
from meanet_jax.training.state import create_state, saved
from meanet_jax.training.train import train
from tests.golden import parameter

WEIGHTS = Path(__file__).parent.parent / "data" / "weights" / "zip.pth"


def with_stage(config: Config, name: str, **changes) -> Config:
  stage = dataclasses.replace(config.stage(name), **changes)
  return dataclasses.replace(config, stages=dataclasses.replace(config.stages, **{name: stage}))


def flat(variables) -> dict[str, np.ndarray]:
  paths, _ = jax.tree_util.tree_flatten_with_path(variables)
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


def test_a_finished_run_has_its_files(finished_run, tiny):
  assert finished_run.config() == tiny
  metrics = [json.loads(line) for line in finished_run.metrics_path.read_text().splitlines()]
  assert {line["stage"] for line in metrics} == {"main", "edge", "cloud"}
  for stage in ("main", "edge", "cloud"):
    steps = [line["step"] for line in metrics if line["stage"] == stage and "loss" in line]
    assert steps == sorted(set(steps))
    assert finished_step(finished_run.checkpoints_path(stage)) == steps[-1]
  hard = read_json(finished_run.hard_classes_path)
  confusion = read_confusion(hard)
  dataset = load(tiny.dataset)
  part = calibration_part(len(dataset.validation), 0.4, tiny.dataset.split_seed)
  assert confusion.sum() == hard["num_examples"] == (~part).sum() < 0.65 * len(part)
  # Its rows are the true classes of the images that select, and of no others.
  np.testing.assert_array_equal(
    confusion.sum(axis=1), np.bincount(dataset.validation.labels[~part], minlength=10)
  )
  predicted = confusion.sum(axis=0)
  for c, precision in enumerate(hard["precision"]):
    if predicted[c]:
      assert precision == pytest.approx(confusion[c, c] / predicted[c])
    else:
      assert precision is None
      assert c in hard["never_predicted"]
  easy = [p or 0 for c, p in enumerate(hard["precision"]) if c not in hard["classes"]]
  assert max(hard["precision"][c] or 0 for c in hard["classes"]) <= min(easy)
  environment = read_json(finished_run.path / "environment.json")
  assert environment["packages"]["jax"] == jax.__version__


def test_repeating_the_command_trains_nothing(finished_run, tiny, printed, tmp_path, monkeypatch):
  def never(*args):
    raise AssertionError("a finished stage was trained again")

  monkeypatch.setattr("meanet_jax.training.train.train_stage", never)
  before = finished_run.metrics_path.read_text()
  shutil.copytree(finished_run.path, tmp_path / "run")
  train(tiny, tmp_path / "run")
  assert printed().count("already finished") == 4
  assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_another_configuration_is_refused(finished_run, tiny):
  changed = with_stage(tiny, "edge", epochs=5)
  with pytest.raises(UserError, match=r"differs in stages\.edge\.epochs \(2 -> 5\); accepted"):
    train(changed, finished_run.path)


def test_later_stages_leave_main_bit_identical(finished_run, tiny, tmp_path):
  dataset = load(tiny.dataset)
  model = build(tiny)
  after = load_variables(tiny, model, dataset, finished_run)
  # The same main stage again, and nothing after it.
  run = RunDirectory.create(tmp_path, tiny)
  start = load_variables(tiny, model, dataset, run)
  context = RunContext(tiny, build(tiny, "batch"), dataset, run)
  images = stage_images(stages.MAIN, dataset, None)
  alone = run_stage.train_stage(stages.MAIN, context, start, images)
  before = flat(alone["main"])
  assert before.keys() == flat(after["main"]).keys()
  for name, value in flat(after["main"]).items():
    np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_the_edge_stage_sees_hard_images_alone_with_remapped_labels(finished_run, tiny):
  dataset = load(tiny.dataset)
  hard = read_hard_classes(finished_run)
  to_hard = read_label_map(stages.EDGE, tiny, finished_run)
  images = stage_images(stages.EDGE, dataset, to_hard)
  chosen = np.isin(dataset.train.labels, hard)
  np.testing.assert_array_equal(images.train.images, dataset.train.images[chosen])
  np.testing.assert_array_equal(hard[images.train.labels], dataset.train.labels[chosen])
  assert set(images.train.labels.tolist()) == set(range(5))
  assert HardClasses(hard, 10).label_map[hard].tolist() == list(range(5))


def test_an_interrupted_stage_goes_on_to_the_same_parameters(finished_run, tiny, tmp_path):
  class StopError(Exception):
    pass

  def stop(step: int):
    original = run_stage.ahead

    def stopping(batches):
      for number, batch in enumerate(original(batches)):
        if number == step:
          raise StopError
        yield batch

    return stopping

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(run_stage, "ahead", stop(13))  # past the first epoch's checkpoint, mid-interval
    with pytest.raises(StopError):
      train(tiny, tmp_path)
  run = RunDirectory.existing(tmp_path)
  assert finished_step(run.checkpoints_path("main")) is not None
  train(tiny, tmp_path)
  dataset, model = load(tiny.dataset), build(tiny)
  expected = flat(load_variables(tiny, model, dataset, finished_run))
  for name, value in flat(load_variables(tiny, model, dataset, run)).items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)
  assert run.metrics_path.read_text() == finished_run.metrics_path.read_text()


def test_an_average_is_validated_handed_on_and_resumed(tiny, tmp_path, monkeypatch):
  config = with_stage(tiny, "main", ema_decay=0.9, epochs=3, accumulate=2)
  dataset, model = load(config.dataset), build(config)

  def trained(path: Path):
    run = RunDirectory.create(path, config)
    begin = load_variables(config, model, dataset, run)
    context = RunContext(config, build(config, "batch"), dataset, run)
    images = stage_images(stages.MAIN, dataset, None)
    return run_stage.train_stage(stages.MAIN, context, begin, images), run, begin

  handed_on, run, begin = trained(tmp_path / "whole")
  step = finished_step(run.checkpoints_path("main"))
  assert step is not None
  tx = make_optimizer(config.stages.main, 1)
  like = jax.eval_shape(lambda: create_state(stages.MAIN, begin, tx, True))
  with open_checkpoints(run.checkpoints_path("main"), 2) as checkpoints:
    kept = checkpoints.restore(step, saved(like))
  for name, value in flat(handed_on).items():
    np.testing.assert_array_equal(value, flat(kept["average"])[name], err_msg=name)
  assert not np.array_equal(
    *(jax.tree.leaves(tree)[0] for tree in (kept["average"]["main"]["params"], kept["params"]))
  )
  after = load_variables(config, model, dataset, run)
  np.testing.assert_equal(flat(after["main"]), flat(handed_on["main"]))
  # What is validated is what is handed on.
  outputs = ForwardPass(model, stages.MAIN.watched, config.dataset, 64)(
    replicate(after), dataset.validation
  )
  accuracy = np.mean(np.argmax(outputs.main, -1) == dataset.validation.labels)
  lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
  assert lines[-1]["validation_accuracy"] == pytest.approx(accuracy)
  # Stopped and gone on with: the same average.
  original = run_stage.ahead
  monkeypatch.setattr(
    run_stage, "ahead", lambda batches: itertools.islice(original(batches), step // 3 + 2)
  )
  trained(tmp_path / "parts")
  monkeypatch.setattr(run_stage, "ahead", original)
  assert finished_step(tmp_path / "parts" / "checkpoints" / "main") == step // 3
  resumed, _, _ = trained(tmp_path / "parts")
  np.testing.assert_equal(flat(resumed), flat(handed_on))


def pretrained(tiny: Config, epochs: int) -> Config:
  main = dataclasses.replace(tiny.model.main, pretrained=str(WEIGHTS))
  config = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, main=main))
  # In a stage that takes no step it matters to nothing how large a batch would be.
  batch_size = tiny.stages.main.batch_size if epochs else 100_001
  return with_stage(config, "main", epochs=epochs, learning_rate=1e-6, batch_size=batch_size)


@pytest.mark.parametrize("epochs", [0, 1])
def test_pretrained_weights_are_kept_or_fine_tuned(tiny, printed, tmp_path, epochs):
  config = pretrained(tiny, epochs)
  train(config, tmp_path)
  run = RunDirectory.existing(tmp_path)
  variables = load_variables(config, build(config), load(config.dataset), run)
  kernel = variables["main"]["params"]["head"]["dense"]["kernel"]
  given = parameter("fc.weight", (10, 4)).T
  if epochs:
    assert not np.array_equal(kernel, given)
    np.testing.assert_allclose(kernel, given, atol=1e-3)
  else:
    np.testing.assert_array_equal(kernel, given)
  hard = read_json(run.hard_classes_path)
  # A barely trained main block: classes that it never predicts are said, and are hard first.
  never = hard["never_predicted"]
  assert len(never) >= config.num_hard
  assert set(hard["classes"]) <= set(never)
  assert (
    f"{len(never)} of 10 classes never predicted on validation, which counts as the least "
    f"precision: {', '.join(map(str, never))}\n"
  ) in printed()
  assert [c for c in range(10) if hard["precision"][c] is None] == never


@pytest.mark.parametrize(
  "changes",
  [
    {"stages": {"training": "joint"}, "model": {"join": "sum"}},
    {"hard_classes": {"selection": "random", "count": 1}, "model": {"join": "none"}},
    pytest.param(
      {"hard_classes": {"count": 9}, "routing": {"offload": "late", "calibrate": True}},
      marks=pytest.mark.full,
    ),
  ],
  ids=str,
)
def test_ablations_are_configuration_alone(tiny, tmp_path, changes):
  config = tiny
  for stage in ("main", "edge", "cloud"):
    config = with_stage(config, stage, epochs=1)
  for group, fields in changes.items():
    changed = dataclasses.replace(getattr(config, group), **fields)
    config = dataclasses.replace(config, **{group: changed})
  train(config, tmp_path)
  summary = evaluate(RunDirectory.existing(tmp_path)).summary()
  assert len(summary["hard_classes"]) == config.num_hard
  assert 0 < summary["systems"]["meanet"]["accuracy"] < 1


def test_wrong_weights_leave_no_directory(tiny, tmp_path):
  config = pretrained(tiny, 0)
  main = dataclasses.replace(config.model.main, pretrained=str(tmp_path / "none.pth"))
  config = dataclasses.replace(config, model=dataclasses.replace(config.model, main=main))
  with pytest.raises(UserError, match=r"none\.pth' is no file"):
    train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_diverging_stage_stops_and_keeps_the_last_good_checkpoint(tiny, tmp_path):
  wild = with_stage(
    tiny, "main", epochs=4, learning_rate=1e25, warmup_epochs=0, schedule="constant"
  )
  first = TrainingDivergedError
  with pytest.raises(first, match=r"stage main, step \d+: the .+ is (nan|inf)") as caught:
    train(wild, tmp_path)
  assert caught.value.status == 1
  # An epoch that is fine, then a rate that is not.
  calm = dataclasses.replace(wild, logging=dataclasses.replace(wild.logging, keep=1))
  calm = with_stage(calm, "main", learning_rate=1e-3, schedule="step", step_epochs=(1,))
  calm = with_stage(calm, "main", step_factor=1e30)
  with pytest.raises(first):
    train(calm, tmp_path / "calm")
  steps_per_epoch = len(load(calm.dataset).train) // 64
  kept = finished_step(RunDirectory(tmp_path / "calm").checkpoints_path("main"))
  assert kept == steps_per_epoch
