"""How a command's process is set up before JAX and the libraries around it do anything."""

import os
import sys
from typing import Any

from meanet_jax.accelerators import skip_absent_tpu
from meanet_jax.commands.flags import Parser, add_path
from meanet_jax.images.decoding import ignore_pillow_warnings
from meanet_jax.paths import expanded_path

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
CACHE_SCHEMES = ("gs", "s3", "az", "hf")  # that JAX opens, through etils


def add_cache_flag(parser: Parser) -> None:
  """Adds `--compilation-cache`."""
  add_path(
    parser,
    "--compilation-cache",
    metavar="DIR",
    schemes=CACHE_SCHEMES,
    help="where compiled programs are kept for the next process, a directory or gs://...; empty "
    f"for nowhere; {CACHE_VARIABLE} if not given, or meanet_jax in the user's cache directory",
  )


def set_up() -> None:
  """Lets libraries speak of what is wrong alone, and makes the variable of JAX's cache a path.

  Raises:
    UserError: a variable that is no path.
  """
  from absl import logging

  logging.set_verbosity(logging.WARNING)
  # Orbax logs every file that it writes, and with a traceback what it raises as well.
  logging.get_absl_logger().addFilter(_is_not_of_orbax)
  _silence_closed_loops()
  ignore_pillow_warnings()
  skip_absent_tpu()
  _expand_cache_variable()


def _is_not_of_orbax(record: Any) -> bool:
  return "orbax" not in record.pathname


def _expand_cache_variable() -> None:
  """Of the variable with which JAX places its cache by itself; JAX may be imported or not yet."""
  if os.environ.get(CACHE_VARIABLE):
    path = expanded_path(
      os.environ[CACHE_VARIABLE], f"environment variable {CACHE_VARIABLE}", CACHE_SCHEMES
    )
    os.environ[CACHE_VARIABLE] = path
    if "jax" in sys.modules:
      sys.modules["jax"].config.update("jax_compilation_cache_dir", path)


def _silence_closed_loops() -> None:
  """Where a checkpoint cannot be written, Orbax closes its event loop at the first error.

  Writes still under way then print, from TensorStore's threads, that there is no loop to report
  theirs to. What went wrong is said once, by the error that is raised.
  """
  before = sys.unraisablehook

  def unraisable(found: Any) -> None:
    if found.exc_type is not RuntimeError or str(found.exc_value) != "Event loop is closed":
      before(found)

  sys.unraisablehook = unraisable
