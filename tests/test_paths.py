"""Every path that a person gives: `~` is expanded, an address is used or refused in one line."""

import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meanet_jax.api import Run, export
from meanet_jax.commands import app
from meanet_jax.commands.flags import Parser, add_path
from meanet_jax.config.load import find
from meanet_jax.config.parsing import resolve
from meanet_jax.cost.device_file import read_profile
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.tfds.names import default_data_dir
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.errors import UserError
from meanet_jax.models.zoo import build
from meanet_jax.paths import expanded_path
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.pretrained import initial_variables
from tests.experiments import tiny_config

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  yield tmp_path
  assert not [name for name in os.listdir(tmp_path) if name.startswith("~") or name.endswith(":")]


def parse(*arguments):
  parser = Parser("meanet tests", None)
  add_path(parser, "--one")
  add_path(parser, "--reaching", schemes=("gs",))
  add_path(parser, "--several", action="append", default=[])
  return parser.parse(arguments)


def parser_of(command):
  parser = Parser(command, None)
  importlib.import_module(f"meanet_jax.commands.{app.COMMANDS[command].module}").add_flags(parser)
  return parser


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("", ""),
    ("runs/x", "runs/x"),
    ("/a/~/b", "/a/~/b"),
    ("./~", "./~"),
    ("a:b", "a:b"),
    ("a//b", "a//b"),
    ("~", "HOME"),
    ("~/x y", "HOME/x y"),
    ("gs://b/x", "gs://b/x"),
  ],
)
def test_a_path_is_expanded(home, text, expected):
  assert expanded_path(text, "flag --x", ("gs",)) == expected.replace("HOME", str(home))


@pytest.mark.parametrize("scheme", ["gs", "s3", "file", "https", "GS", "svn+ssh"])
def test_an_address_is_refused(scheme):
  with pytest.raises(UserError) as caught:
    expanded_path(f"{scheme}://b/x", "flag --out", ("hf",))
  assert str(caught.value) == (
    f"flag --out is '{scheme}://b/x', and {scheme}:// cannot be used there; accepted: a path of "
    "this machine's file systems (a bucket has to be mounted), or hf://..."
  )


def test_a_home_that_is_not_known_is_refused(monkeypatch):
  with pytest.raises(UserError, match=r"~nobody_here stands for is not kno.*\./~nobody_here/x "):
    expanded_path("~nobody_here/x", "flag --out")
  no_home(monkeypatch)
  with pytest.raises(UserError, match="--out is '~', and the home directory that ~ stands for is"):
    expanded_path("~", "flag --out")


def no_home(monkeypatch):
  """As for a user without an entry in the system's list."""
  monkeypatch.delenv("HOME")
  monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)


def test_flags_that_are_paths(home):
  given = parse("--one=~/a", "--reaching", "gs://b", "--several=~", "--several", "x")
  assert (given.one, given.reaching) == (f"{home}/a", "gs://b")
  assert given.several == [str(home), "x"]
  assert parse("--one=").one == ""
  for name in ("one", "several"):
    with pytest.raises(UserError, match=f"flag --{name} is 'gs://b', and gs:// cannot be used"):
      parse(f"--{name}=gs://b")


@pytest.mark.parametrize("command", app.COMMANDS)
def test_every_flag_that_is_a_path_is_defined_as_one(command):
  """Found by what flags of files and directories are called, or say of themselves."""
  paths = re.compile(
    r"(?i)\b(workdir|dir|directory|file|path|output|out|archives|cache|certificate|key|kept)\b"
  )
  not_paths = {"config", "h"}  # `find` expands it
  for action in parser_of(command)._actions:
    words = f"{action.dest.replace('_', ' ')} {action.metavar} {action.help}"
    if action.nargs == 0 or action.dest in not_paths or not paths.search(words):
      continue
    assert callable(action.type), action.dest
    with pytest.raises(UserError, match="cannot be used there"):
      action.type("nosuch://b")


def test_nothing_else_expands_paths():
  sources = [ROOT / "train.py", ROOT / "eval.py", *(ROOT / "meanet_jax").rglob("*.py")]
  for module in sources:
    assert "expanduser(" not in module.read_text() or module.name == "paths.py"


def test_the_configuration_file(home):
  (home / "c.py").write_text("def get_config():\n  return 3\n")
  assert find("~/c.py") == home / "c.py"
  with pytest.raises(UserError, match=r"flag --config is 'gs://c\.py', and gs:// cannot be used"):
    find("gs://c.py")


def test_the_edge_command(home):
  parser = parser_of("edge")
  assert parser.parse(["--model=m", "~.png"]).images == ["~.png"]  # the shell's own business
  assert parser.parse(["--model=m", "--images=~/*.png"]).pattern == f"{home}/*.png"


def test_runs_and_pretrained_weights(home):
  assert RunDirectory("~/run").path == home / "run"
  with pytest.raises(UserError, match="workdir is 'gs://b/x', and gs:// cannot be used there"):
    RunDirectory("gs://b/x")
  config = tiny_config()
  config.model.main.pretrained = "~/w.pth"
  checked = resolve(config)
  with pytest.raises(UserError, match=f"{home}/w.pth"):
    initial_variables(checked, build(checked), ("main",))


def test_what_python_programs_give(home):
  assert ReadOptions("~/sets").data_dir == f"{home}/sets"
  with pytest.raises(UserError, match=f"{home}/out/edge.json cannot be read"):
    EdgeClassifier("~/out")
  (home / "device.json").write_text("{")
  with pytest.raises(UserError, match=r"device profile ~/device\.json is no JSON"):
    read_profile("~/device.json")
  RunDirectory.create("~/run", resolve(tiny_config()))
  run = Run("~/run")
  given: dict[str, Callable[[str], Any]] = {
    "data_dir": ReadOptions,
    "directory": EdgeClassifier,
    "device": read_profile,
    "out": lambda path: export(run, path),
  }
  for name, call in given.items():
    with pytest.raises(UserError, match=f"^{name} is 's3://b/x', and s3:// cannot be used there"):
      call("s3://b/x")


def test_where_data_sets_lie(home, monkeypatch):
  from tensorflow_datasets.core import constants

  monkeypatch.setenv("TFDS_DATA_DIR", "set")
  monkeypatch.setattr(constants, "DATA_DIR", "~/sets")
  assert default_data_dir() == f"{home}/sets"
  monkeypatch.setattr(constants, "DATA_DIR", "gs://tfds-data")
  with pytest.raises(UserError, match="environment variable TFDS_DATA_DIR is 'gs://tfds-data'"):
    default_data_dir()
  monkeypatch.delenv("TFDS_DATA_DIR")
  monkeypatch.setattr(constants, "DATA_DIR", "~/tensorflow_datasets")
  no_home(monkeypatch)
  with pytest.raises(UserError, match=r"^TFDS's default for --data-dir is '~/tensorflow_datasets'"):
    default_data_dir()
