"""The flag for the directory of compiled programs."""

import os
import uuid
from collections.abc import Callable

import jax
from etils import epath

from meanet_jax.commands.flags import CACHE_SCHEMES, CACHE_VARIABLE, define_path_flag
from meanet_jax.errors import UserError
from meanet_jax.paths import expanded_path
from meanet_jax.stdout import say_on_stderr


def define_compilation_cache_flag() -> Callable[[], None]:
  """Defines `--compilation_cache`; the result, called before JAX compiles, sets it up.

  A directory that cannot be written costs one line on stderr and the cache, not the run.
  """
  directory = define_path_flag(
    "compilation_cache",
    None,
    "Where compiled programs are kept for the next process, a directory or gs://...; empty for "
    f"nowhere. {CACHE_VARIABLE} if not given, or meanet_jax in the user's cache directory.",
    CACHE_SCHEMES,
  )

  def use() -> None:
    asked = directory.value
    if not jax.config.jax_enable_compilation_cache:
      return
    try:
      if asked is None:
        asked = jax.config.jax_compilation_cache_dir or _default_directory()
      if asked:
        asked = _writable(asked)
    except _NotUsedError as error:
      say_on_stderr(
        f"warning: {error} and is not used; --compilation_cache DIR places it elsewhere"
      )
      asked = ""
    if asked:
      jax.config.update("jax_compilation_cache_dir", asked)
    else:
      jax.config.update("jax_enable_compilation_cache", False)

  return use


class _NotUsedError(Exception):
  """Why there is no cache, in words."""


def _default_directory() -> str:
  home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  try:
    return os.path.join(expanded_path(home, "environment variable XDG_CACHE_HOME"), "meanet_jax")
  except UserError as error:
    raise _NotUsedError(f"the compilation cache has no place below {home}") from error


def _writable(asked: str) -> str:
  """The directory as JAX takes it, once something could be written there."""
  try:
    path = epath.Path(asked if "://" in asked else os.path.abspath(asked))
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f".{uuid.uuid4().hex}.partial"
    probe.write_bytes(b"")
    probe.unlink()
  except Exception as error:  # what reaches a bucket raises whatever it does
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    raise _NotUsedError(
      f"the compilation cache {asked} cannot be written ({' '.join(why.split())})"
    ) from error
  return str(path)
