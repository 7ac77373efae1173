"""Flags of a process's set-up. That processes meet: tests/training/test_distributed.py."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from absl import flags
from absl.testing import flagsaver
from etils.epath import gpath
from fsspec.implementations.memory import MemoryFileSystem

from meanet_jax.commands import flags as cli
from meanet_jax.commands import launch
from meanet_jax.errors import MeetingError, UserError
from meanet_jax.training.distributed import Cluster
from meanet_jax.training.rendezvous import Meeting

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
      "--coordinator is 'a'; accepted: HOST:PORT or [IPV6]:PORT, with a port of 1 to 65535",
    ),
    *(
      (
        ["--distributed", f"--coordinator={address}", "--num_processes=2", "--process_id=1"],
        f"--coordinator is {address!r}; accepted: HOST:PORT or [IPV6]:PORT",
      )
      for address in ("127.0.0.1:99999", "a:0", "a:", ":1", "::1:80", "[::1]", "a b:80", "a:1:2")
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
  assert cluster() == Cluster(None, None, None, 60, 300)
  assert Cluster().meeting() is None
  parse("--distributed", "--coordinator=[::1]:80", "--num_processes=3", "--process_id=0")
  found = cluster()
  assert found == Cluster("[::1]:80", 3, 0, 60, 300)
  meeting = found.meeting()
  assert meeting == Meeting("[::1]:80", 3, 0, 300.0)
  assert meeting.place == ("::1", 80)


def test_others_are_told_whatever_is_wrong_with_the_other_flags(monkeypatch):
  told = []
  monkeypatch.setattr(launch, "meet", lambda *arguments: told.append(arguments))

  def tell(error: UserError, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    launch.tell_other_processes(error)

  where = ("--distributed", "--coordinator", "a:1", "--num_processes=2", "--process_id=1")
  tell(
    UserError("odd"), "--nosuch", "x", "--config=y", "--config.seed=-1", "--workdir", "z", *where
  )
  assert told == [(Meeting("a:1", 2, 1, 300.0), "odd")]
  tell(UserError("odd"), "--config=y")
  tell(UserError("odd"), "--distributed")
  tell(UserError("odd"), *where, "--process_id=2")
  tell(UserError("odd"), *where, "--process_id=x")
  tell(MeetingError("they know"), *where)
  assert len(told) == 1


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


def test_the_variable_of_jaxs_own_cache(tmp_path: Path, monkeypatch):
  """Which JAX reads by itself in commands without the flag."""
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "~/compiled")
  cli._expand_cache_variable()
  assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/compiled"
  assert os.environ["JAX_COMPILATION_CACHE_DIR"] == f"{tmp_path}/compiled"
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "http://x")
  with pytest.raises(UserError, match="variable JAX_COMPILATION_CACHE_DIR is 'http://x', and http"):
    cli._expand_cache_variable()


def test_compiled_programs_are_kept_in_a_bucket(tmp_path: Path, capsys, monkeypatch):
  """Reached by what etils opens; here a bucket in memory, and one that nothing here can reach."""
  bucket, home = MemoryFileSystem(), ("--compilation_cache=~/x", str(tmp_path / "x"))
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
  monkeypatch.setattr(gpath.backend_lib.fsspec_backend, "fs", lambda _: bucket, raising=False)
  for argument, expected in (("--compilation_cache=gs://b/x", "gs://b/x"), home):
    jax.config.update("jax_enable_compilation_cache", True)
    parse(argument)
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == expected
    assert jax.config.jax_enable_compilation_cache
  assert not bucket.find("/")
  assert [path.name for path in tmp_path.iterdir()] == ["x"]
  assert capsys.readouterr().err == ""

  def no_way(_):
    raise ImportError("Install gcsfs to access\nGoogle storage")

  monkeypatch.setattr(gpath.backend_lib.fsspec_backend, "fs", no_way)
  parse("--compilation_cache=gs://b/x")
  use_compilation_cache()
  assert not jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == (
    "warning: the compilation cache gs://b/x cannot be written (ImportError: Install gcsfs to "
    "access Google storage) and is not used; --compilation_cache DIR places it elsewhere\n"
  )
  assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_without_a_home_there_is_no_cache_and_one_line(capsys, monkeypatch):
  for name in ("HOME", "XDG_CACHE_HOME"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # whom the system does not know
  jax.config.update("jax_enable_compilation_cache", True)
  jax.config.update("jax_compilation_cache_dir", None)
  parse()
  use_compilation_cache()
  assert not jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == (
    "warning: the compilation cache has no place below ~/.cache and is not used; "
    "--compilation_cache DIR places it elsewhere\n"
  )
