"""Which fields of a begun run may change, and what becomes of what was selected by the old ones."""

from pathlib import Path
from typing import Any

import pytest

from meanet_jax.config.parsing import changes, resolve
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.files import write_json
from meanet_jax.runs.directory import RunDirectory
from tests.experiments import tiny_config


def config(**fields) -> Config:
  """The tiny one with fields (dots written as __) changed."""
  changed = tiny_config()
  with changed.unlocked():
    for name, value in fields.items():
      *groups, last = name.split("__")
      group: Any = changed
      for part in groups:
        group = group[part]
      group[last] = value
  return resolve(changed)


def begun(path: Path, *stages: str) -> RunDirectory:
  run = RunDirectory.create(path, config())
  for stage in stages:
    (run.checkpoints_path(stage) / "10").mkdir(parents=True)
  return run


@pytest.mark.parametrize(
  ("stages", "fields"),
  [
    ((), {"stages__main__epochs": 5}),
    (("main",), {"stages__edge__batch_size": 32, "stages__cloud__epochs": 7}),
    (("main",), {"model__extension__widths": (4,), "model__join": "sum"}),
    (("main",), {"model__join_dropout": 0.25}),
    (("main",), {"stages__training": "mixed", "stages__finetune__epochs": 3}),
    (("main", "edge"), {"model__cloud__pretrained": "x.pth"}),
    (("main", "cloud"), {"stages__edge__learning_rate": 0.2}),
    # Which only an evaluation reads.
    (("main", "edge", "cloud", "static"), {"routing__policy": "auto"}),
  ],
)
def test_fields_of_stages_without_a_checkpoint_may_change(tmp_path, stages, fields):
  run = begun(tmp_path, *stages)
  asked = config(**fields)
  assert run.changed(asked) == changes(config(), asked) != {}
  assert run.config() == config()  # not yet
  RunDirectory.create(tmp_path, asked)
  assert run.config() == asked
  assert run.changed(asked) == {}


@pytest.mark.parametrize(
  ("stages", "fields", "others"),
  [
    (("main",), {"stages__main__epochs": 5}, ", but for fields of stage edge and cloud"),
    (("edge",), {"stages__main__epochs": 5}, ", but for fields of stage cloud"),
    (("main", "edge"), {"hard_classes__count": 4}, ", but for fields of stage cloud"),
    (("main", "cloud"), {"model__cloud__name": "resnet32"}, ", but for fields of stage edge"),
    (("main", "edge", "cloud"), {"stages__edge__batch_size": 32}, ""),
    ((), {"seed": 1}, ", but for fields of stage main and edge and cloud"),
    ((), {"dataset__split_seed": 1}, ", but for fields of stage main and edge and cloud"),
    (("main",), {"evaluation__batch_size": 64}, ", but for fields of stage edge and cloud"),
  ],
)
def test_other_fields_may_not(tmp_path, stages, fields, others):
  begun(tmp_path, *stages)
  with pytest.raises(UserError) as caught:
    # What could change alone is not what is wrong, and is not taken either.
    RunDirectory.create(tmp_path, config(**fields))
  (text,) = changes(config(), config(**fields)).values()
  assert str(caught.value) == (
    f"workdir {tmp_path} holds a run of another configuration, which differs in {text}; "
    f"accepted: the same configuration{others}, or another --workdir"
  )
  assert RunDirectory(tmp_path).config() == config()


def test_a_refused_field_takes_no_other_with_it(tmp_path):
  run = begun(tmp_path, "main")
  with pytest.raises(UserError, match=r"differs in seed \(0 -> 1\); accepted"):
    RunDirectory.create(tmp_path, config(seed=1, stages__edge__epochs=9))
  assert run.config() == config()


@pytest.mark.parametrize(
  ("fields", "kept"),
  [
    ({"hard_classes__count": 4}, False),
    ({"hard_classes__selection": "random"}, False),
    ({"evaluation__calibration_fraction": 0.2}, False),
    ({"stages__edge__batch_size": 32}, True),
    ({"stages__cloud__batch_size": 32}, True),
    ({}, True),
  ],
)
def test_hard_classes_are_selected_anew_where_their_fields_change(tmp_path, fields, kept):
  run = begun(tmp_path, "main")
  write_json(run.hard_classes_path, {"classes": [1]})
  RunDirectory.create(tmp_path, config(**fields))
  assert run.hard_classes_path.exists() == kept


def test_a_quarantined_checkpoint_holds_nothing_up(tmp_path):
  run = begun(tmp_path, "main", "cloud")
  (run.checkpoints_path("cloud") / "10").rename(run.checkpoints_path("cloud") / "10.quarantined")
  asked = config(stages__cloud__epochs=9)
  assert list(run.changed(asked)) == ["stages.cloud.epochs"]
