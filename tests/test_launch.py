"""Flags of a process's set-up. That processes meet: tests/training/test_processes.py."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from absl import flags
from absl.testing import flagsaver

from meanet_jax import launch
from meanet_jax.errors import UserError
from meanet_jax.training.processes import Cluster

cluster = launch.define_cluster_flags()
use_compilation_cache = launch.define_compilation_cache_flag()


@pytest.fixture(autouse=True)
def given_back() -> Iterator[None]:
  names = ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
  before = {name: getattr(jax.config, name) for name in names}
  with flagsaver.flagsaver():
    yield
  for name, value in before.items():
    jax.config.update(name, value)


def parse(*arguments: str) -> None:
  flags.FLAGS(["train.py", *arguments])


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--num_processes=2"], "--num_processes is 2; accepted: with --distributed alone"),
    (["--process_id=0"], "--process_id is 0; accepted: with --distributed alone"),
    (
      ["--distributed", "--num_processes=2"],
      "--coordinator is missing; accepted: --coordinator, --num_processes and --process_id",
    ),
    (
      ["--distributed", "--coordinator=a:1", "--num_processes=2"],
      "--process_id is missing; accepted: --coordinator, --num_processes and --process_id",
    ),
    (
      ["--distributed", "--coordinator=a", "--num_processes=2", "--process_id=1"],
      "--coordinator is 'a'; accepted: HOST:PORT",
    ),
    (
      ["--distributed", "--coordinator=a:1", "--num_processes=2", "--process_id=2"],
      "--process_id is 2; accepted: 0 to 1, for 2 processes",
    ),
  ],
)
def test_flags_that_do_not_go_together_are_named(arguments, words):
  parse(*arguments)
  with pytest.raises(UserError) as caught:
    cluster()
  assert str(caught.value).startswith(f"flag {words}")


def test_a_cluster_is_given_whole_or_found():
  parse()
  assert cluster() is None
  parse("--distributed")
  assert cluster() == Cluster(None, None, None, 60)
  parse("--distributed", "--coordinator=[::1]:80", "--num_processes=3", "--process_id=0")
  assert cluster() == Cluster("[::1]:80", 3, 0, 60)


def test_compiled_programs_are_kept_where_asked(tmp_path: Path, capsys, monkeypatch):
  jax.config.update("jax_enable_compilation_cache", True)
  parse(f"--compilation_cache={tmp_path / 'a' / 'b'}")
  use_compilation_cache()
  assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "a" / "b"
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "environment"))
  flags.FLAGS["compilation_cache"].unparse()
  parse()
  use_compilation_cache()
  assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "environment"
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
  use_compilation_cache()
  assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "home" / "meanet_jax"
  assert jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == ""


def test_nowhere_to_keep_them_costs_a_line_and_the_cache(tmp_path: Path, capsys):
  jax.config.update("jax_enable_compilation_cache", True)
  (tmp_path / "file").touch()
  parse(f"--compilation_cache={tmp_path / 'file' / 'cache'}")
  use_compilation_cache()
  assert not jax.config.jax_enable_compilation_cache
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"warning: the compilation cache {tmp_path / 'file' / 'cache'} cannot be")
  jax.config.update("jax_enable_compilation_cache", True)
  parse("--compilation_cache=")
  use_compilation_cache()
  assert not jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == ""
