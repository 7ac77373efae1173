"""Where compiled programs are kept for the next process."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from etils.epath import gpath
from fsspec.implementations.memory import MemoryFileSystem

from meanet_jax.commands import process
from meanet_jax.commands.compilation_cache import use_compilation_cache
from meanet_jax.commands.flags import Parser
from meanet_jax.errors import UserError


@pytest.fixture(autouse=True)
def given_back() -> Iterator[None]:
  names = ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
  before = {name: getattr(jax.config, name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def use(*arguments: str) -> None:
  parser = Parser("meanet train", None)
  process.add_cache_flag(parser)
  use_compilation_cache(parser.parse(arguments).compilation_cache)


def test_compiled_programs_are_kept_where_asked(tmp_path: Path, capsys, monkeypatch):
  jax.config.update("jax_enable_compilation_cache", True)
  use(f"--compilation-cache={tmp_path / 'a' / 'b'}")
  assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "a" / "b"
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "environment"))
  use()
  assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "environment"
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
  use()
  assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "home" / "meanet_jax"
  assert jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == ""


def test_nowhere_to_keep_them_costs_a_line_and_the_cache(tmp_path: Path, capsys):
  jax.config.update("jax_enable_compilation_cache", True)
  (tmp_path / "file").touch()
  use(f"--compilation-cache={tmp_path / 'file' / 'cache'}")
  assert not jax.config.jax_enable_compilation_cache
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"warning: the compilation cache {tmp_path / 'file' / 'cache'} cannot be")
  jax.config.update("jax_enable_compilation_cache", True)
  use("--compilation-cache=")
  assert not jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == ""


def test_the_variable_of_jaxs_own_cache(tmp_path: Path, monkeypatch):
  """Which JAX reads by itself in commands without the flag."""
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "~/compiled")
  process._expand_cache_variable()
  assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/compiled"
  assert os.environ["JAX_COMPILATION_CACHE_DIR"] == f"{tmp_path}/compiled"
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "http://x")
  with pytest.raises(UserError, match="variable JAX_COMPILATION_CACHE_DIR is 'http://x', and http"):
    process._expand_cache_variable()


def test_compiled_programs_are_kept_in_a_bucket(tmp_path: Path, capsys, monkeypatch):
  """Reached by what etils opens; here a bucket in memory, and one that nothing here can reach."""
  bucket, home = MemoryFileSystem(), ("--compilation-cache=~/x", str(tmp_path / "x"))
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
  monkeypatch.setattr(gpath.backend_lib.fsspec_backend, "fs", lambda _: bucket, raising=False)
  for argument, expected in (("--compilation-cache=gs://b/x", "gs://b/x"), home):
    jax.config.update("jax_enable_compilation_cache", True)
    use(argument)
    assert jax.config.jax_compilation_cache_dir == expected
    assert jax.config.jax_enable_compilation_cache
  assert not bucket.find("/")
  assert [path.name for path in tmp_path.iterdir()] == ["x"]
  assert capsys.readouterr().err == ""

  def no_way(_):
    raise ImportError("Install gcsfs to access\nGoogle storage")

  monkeypatch.setattr(gpath.backend_lib.fsspec_backend, "fs", no_way)
  use("--compilation-cache=gs://b/x")
  assert not jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == (
    "warning: the compilation cache gs://b/x cannot be written (ImportError: Install gcsfs to "
    "access Google storage) and is not used; --compilation-cache DIR places it elsewhere\n"
  )
  assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_without_a_home_there_is_no_cache_and_one_line(capsys, monkeypatch):
  for name in ("HOME", "XDG_CACHE_HOME"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # whom the system does not know
  jax.config.update("jax_enable_compilation_cache", True)
  jax.config.update("jax_compilation_cache_dir", None)
  use()
  assert not jax.config.jax_enable_compilation_cache
  assert capsys.readouterr().err == (
    "warning: the compilation cache has no place below ~/.cache and is not used; "
    "--compilation-cache DIR places it elsewhere\n"
  )
