"""Configurations by file and by name, with fields changed by text and by value."""

from pathlib import Path

import pytest

from meanet_jax.commands.experiment import add_config_flag, read_experiment
from meanet_jax.commands.flags import Parser
from meanet_jax.config.load import installed, load_config
from meanet_jax.errors import UserError
from meanet_jax.routing.policies import PRESETS, configured_policy

ROOT = Path(__file__).parents[2]


def experiment(*arguments: str, data: str | None = None):
  parser = Parser("meanet tests", None)
  add_config_flag(parser)
  return read_experiment(parser.parse(arguments), data)


def test_a_name_is_the_file_of_that_name():
  assert set(installed()) == {path.stem for path in (ROOT / "configs").glob("*.py")}
  assert load_config("digits") == load_config(ROOT / "configs/digits.py")
  for name in installed():
    load_config(name)


def test_the_paper_s_four_have_its_rules_and_the_others_select_them():
  paper = ("cifar100_resnet32_a", "cifar100_resnet32_b")
  imagenet = ("imagenet_mobilenet_v2_b", "imagenet_resnet18_b")
  for name in installed():
    routing = load_config(name).routing
    if name in (*paper, *imagenet):
      preset = "paper" if name in paper else "paper_imagenet"
      assert (routing.policy, routing.calibrate) == ("configured", False)
      assert configured_policy(routing) == PRESETS[preset]
    else:
      assert routing.policy == "auto"


def test_what_follows_a_colon_is_the_configuration_s_argument(tmp_path):
  assert load_config("own_images:small") == load_config("own_images")
  assert load_config("own_images:large").model.main.name == "resnet18"
  assert load_config(ROOT / "configs/own_images.py:medium").dataset.image_shape == (128, 128, 0)
  odd = tmp_path / "odd:name.py"
  odd.write_text((ROOT / "configs/digits.py").read_text())
  assert load_config(odd) == load_config("digits")
  for name, words in (
    ("own_images:huge", "own_images:huge; accepted: small, medium, large"),
    ("digits:small", "'small' follows a colon, and configuration .* takes no argument"),
    ("none:small", "no configuration 'none'"),
  ):
    with pytest.raises(UserError, match=words):
      load_config(name)


def test_own_images_need_no_configuration():
  config, _ = experiment(data="photos")
  assert config == load_config("own_images", {"dataset.path": "photos"})
  config, _ = experiment("--config", "own_images:medium", "--config.seed=3", data="photos")
  assert (config.dataset.path, config.dataset.image_shape, config.seed) == (
    "photos",
    (128, 128, 0),
    3,
  )


def test_changes():
  config = load_config(
    "digits",
    {"stages.edge.epochs": 3, "dataset.mean": [1], "hard_classes.count": None, "cost.radio": "lte"},
  )
  assert config.stages.edge.epochs == 3
  assert config.dataset.mean == (1.0,)
  assert (config.hard_classes.count, config.cost.radio) == (None, "lte")
  for changes, words in (
    ({"stages.edge.epoch": 3}, "did you mean 'epochs'?"),
    ({"stages.edge.epochs": 2.5}, "'stages.edge.epochs' is 2.5; accepted: an integer"),
    ({"stages.edge": 3}, "'stages.edge' is a group of fields; accepted: one of them"),
  ):
    with pytest.raises(UserError) as caught:
      load_config("digits", changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
  ("arguments", "path", "value"),
  [
    (["--config.seed=0x10"], "seed", 16),
    (["--config.seed=1", "--config.seed=2"], "seed", 2),
    (["--config.stages.main.learning_rate=1"], "stages.main.learning_rate", 1.0),
    (["--config.stages.main.learning_rate", "1e-3"], "stages.main.learning_rate", 1e-3),
    (["--config.stages.cloud_first"], "stages.cloud_first", True),
    (["--config.stages.cloud_first=T"], "stages.cloud_first", True),
    (["--config.stages.cloud_first=0"], "stages.cloud_first", False),
    (["--noconfig.logging.keep_best"], "logging.keep_best", False),
    (["--config.hard_classes.count=none"], "hard_classes.count", None),
    (["--config.hard_classes.count=3"], "hard_classes.count", 3),
    (["--config.model.main.pretrained=None"], "model.main.pretrained", "None"),
    (["--config.dataset.mean=0.5,0.25"], "dataset.mean", (0.5, 0.25)),
    (["--config.dataset.mean=(1,)"], "dataset.mean", (1.0,)),
    (["--config.dataset.mean=[0.5]"], "dataset.mean", (0.5,)),
    (["--config.dataset.mean=1"], "dataset.mean", (1.0,)),
    (["--config.stages.main.step_epochs=()"], "stages.main.step_epochs", ()),
    (
      ["--config.stages.main.step_epochs=5", "--config.stages.main.step_epochs=7"],
      "stages.main.step_epochs",
      (5, 7),
    ),
    (["--config.grid.axes=('seed=0,1', 'a=2')"], "grid.axes", ("seed=0,1", "a=2")),
    (["--config.stages.main.class_weights=balanced"], "stages.main.class_weights", "balanced"),
    (
      ["--config.stages.main.class_weights=(1,1,1,1,1,1,1,1,1,2)"],
      "stages.main.class_weights",
      (1.0,) * 9 + (2.0,),
    ),
    (["--config.grid.axes=seed=0"], "grid.axes", ("seed=0",)),
    (["--config.grid.ray.resources=('TPU=4',)"], "grid.ray.resources", ("TPU=4",)),
  ],
)
def test_values_as_text(arguments, path, value):
  size = ["--config.dataset.image_shape=(8,8,2)"] if "mean=0.5,0.25" in arguments[0] else []
  config, grid = experiment("--config=digits", *arguments, *size)
  found = {"grid": grid} | {name: getattr(config, name) for name in config.__dataclass_fields__}
  first, *rest = path.split(".")
  found = found[first]
  for name in rest:
    found = getattr(found, name)
  assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--config.seed=one", "flag --config.seed is 'one'; accepted: an integer, at least 0"),
    ("--config.seed=1.5", "flag --config.seed is '1.5'; accepted: an integer, at least 0"),
    ("--config.seed=none", "flag --config.seed is 'none'; accepted: an integer, at least 0"),
    ("--config.seed", "flag --config.seed has no value; accepted: an integer, at least 0"),
    ("--config.seed=-1", "configuration field 'seed' is -1; accepted: at least 0"),
    (
      "--config.stages.cloud_first=maybe",
      "flag --config.stages.cloud_first is 'maybe'; accepted: true or fal",
    ),
    ("--config.dataset.mean=a,b", "flag --config.dataset.mean is 'a,b'; accepted: a tuple of num"),
    ("--config.hard_classes.count=x", "flag --config.hard_classes.count is 'x'; accepted: an int"),
    ("--config.cost.radio=wife", "configuration field 'cost.radio' is 'wife'; did you mean 'wifi'"),
    (
      "--config.stages.main.class_weights=even",
      "flag --config.stages.main.class_weights is 'even'; accepted: none, balanced; or a tuple of",
    ),
    ("--config.stages=3", "configuration field 'stages' is a group of fields; accepted: one of"),
  ],
)
def test_wrong_texts(argument, message):
  with pytest.raises(UserError) as caught:
    experiment("--config=digits", argument)
  assert str(caught.value).startswith(message)


def test_wrong_files(tmp_path):
  for name, text, words in (
    ("raising", "raise RuntimeError('no such luck')", "raising.py: RuntimeError: no such luck"),
    ("two", "def get_config():\n  raise ValueError('a\\nb')\n", "two.py: ValueError: a b"),
    ("none", "x = 1\n", "none.py has no function get_config; accepted: one"),
    ("plain", "def get_config():\n  return 3\n", "get_config() returned 3; accepted: a ConfigDict"),
    ("syntax", "def (", "syntax.py: SyntaxError: "),
  ):
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
      load_config(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
  for text, words in (
    ("nowhere.py", "flag --config: no file 'nowhere.py'; accepted: a configuration file's path"),
    ("digit", "flag --config: no configuration 'digit'; did you mean 'digits'? accepted: "),
  ):
    with pytest.raises(UserError) as caught:
      load_config(text)
    assert str(caught.value).startswith(words)
