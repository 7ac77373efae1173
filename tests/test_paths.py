"""Every path that a person gives: `~` is expanded, an address is used or refused in one line."""

import os
import re
from pathlib import Path

import pytest
from absl.testing import flagsaver

from meanet_jax.commands import edge as command
from meanet_jax.commands import flags as cli
from meanet_jax.config.parsing import resolve
from meanet_jax.data.tfds.prepared import default_data_dir
from meanet_jax.errors import UserError
from meanet_jax.models.pretrained import initial_variables
from meanet_jax.models.zoo import build
from meanet_jax.paths import expanded_path
from meanet_jax.runs.directory import RunDirectory
from tests.experiments import tiny_config

ROOT = Path(__file__).parent.parent
one = cli.define_path_flag("tests_one", None, "")
reaching = cli.define_path_flag("tests_reaching", None, "", ("gs",))
several = cli.define_path_flags("tests_several", [], "")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  with flagsaver.flagsaver():
    yield tmp_path
  assert not [name for name in os.listdir(tmp_path) if name.startswith("~") or name.endswith(":")]


def parse(*arguments):
  return cli._parsed(["train.py", *arguments], ())


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
  parse(
    "--tests_one=~/a", "--tests_reaching", "gs://b", "--tests_several=~", "--tests_several", "x"
  )
  assert (one.value, reaching.value) == (f"{home}/a", "gs://b")
  assert several.value == [str(home), "x"]
  parse("--tests_one=")
  assert one.value == ""
  for name in ("tests_one", "tests_several"):
    with pytest.raises(UserError, match=f"flag --{name} is 'gs://b', and gs:// cannot be used"):
      parse(f"--{name}=gs://b")


def test_every_flag_that_is_a_path_is_defined_as_one():
  """Found by what flags of files and directories are called, or say of themselves."""
  paths = re.compile(
    r"(?i)\b(workdir|dir|directory|file|path|output|out|archives|cache|certificate|key|kept)\b"
  )
  defined = re.compile(r"flags\.DEFINE_(?:multi_)?string\(\s*\"(\w+)\",[^)]*?\"([^\"]*)\"")
  sources = [ROOT / "train.py", ROOT / "eval.py", *(ROOT / "meanet_jax").rglob("*.py")]
  sources = [path for path in sources if path.name != "cli.py"]
  found = [match for path in sources for match in defined.findall(path.read_text())]
  assert {"host", "coordinator", "grid", "topology"} <= {name for name, _ in found}
  wrong = [name for name, told in found if paths.search(f"{name.replace('_', ' ')} {told}")]
  assert not wrong
  for module in sources:
    assert "expanduser(" not in module.read_text() or module.name == "paths.py"


def test_the_configuration_file(home):
  (home / "c.py").write_text("def get_config():\n  return 3\n")
  expected = ["--x", f"--config={home}/c.py", "--config", str(home / "c.py"), "--config.a=~/b", "~"]
  given = ["--x", "--config=~/c.py", "--config", "~/c.py", "--config.a=~/b", "~"]
  assert cli._with_config_path(given) == expected
  with pytest.raises(UserError, match=r"flag --config is 'gs://c\.py', and gs:// cannot be used"):
    cli._with_config_path(["--config", "gs://c.py"])


def test_the_edge_command(home):
  model = ["--model=~/m", "x.png"]
  names = ("output", "summary", "ca_file", "token_file")
  given = command._parse([*model, "--cloud=grpc://h:1", *(f"--{name}=~/{name}" for name in names)])
  assert [getattr(given, name) for name in ("model", *names)] == [
    f"{home}/{name}" for name in ("m", *names)
  ]
  given = command._parse(["--model=m", "--images=~/*.png"])
  assert given.pattern == f"{home}/*.png"
  given = command._parse(["--model=m", "--dataset=digits", "--data_dir=~/d"])
  assert given.data_dir == f"{home}/d"
  for name in ("model", "images", "data_dir", *names):
    with pytest.raises(UserError, match=f"argument --{name}: the path is 'gs://b', and gs://"):
      command._parse(["--model=m", f"--{name}=gs://b"])
  assert command._parse(["--model=m", "~.png"]).images == ["~.png"]  # the shell's own business


def test_runs_and_pretrained_weights(home):
  assert RunDirectory("~/run").path == home / "run"
  with pytest.raises(UserError, match="workdir is 'gs://b/x', and gs:// cannot be used there"):
    RunDirectory("gs://b/x")
  config = tiny_config()
  config.model.main.pretrained = "~/w.pth"
  checked = resolve(config)
  with pytest.raises(UserError, match=f"{home}/w.pth"):
    initial_variables(checked, build(checked), ("main",))


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
  with pytest.raises(UserError, match=r"^TFDS's default for --data_dir is '~/tensorflow_datasets'"):
    default_data_dir()
