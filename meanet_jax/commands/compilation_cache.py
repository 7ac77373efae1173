"""Where compiled programs are kept for the next process."""

import os
import uuid

import jax
from etils import epath

from meanet_jax.errors import UserError
from meanet_jax.paths import expanded_path
from meanet_jax.stdout import say_on_stderr


def use_compilation_cache(asked: str | None) -> None:
  """Sets JAX's cache up, before it compiles.

  A directory that cannot be written costs one line on stderr and the cache, not the run.

  Args:
    asked: the flag's value.
  """
  if not jax.config.jax_enable_compilation_cache:
    return
  try:
    if asked is None:
      asked = jax.config.jax_compilation_cache_dir or _default_directory()
    if asked:
      asked = _writable(asked)
  except _NotUsedError as error:
    say_on_stderr(f"warning: {error} and is not used; --compilation-cache DIR places it elsewhere")
    asked = ""
  if asked:
    jax.config.update("jax_compilation_cache_dir", asked)
  else:
    jax.config.update("jax_enable_compilation_cache", False)


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
