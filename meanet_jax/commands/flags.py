"""From command line to function call: flags, one-line errors, exit status."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from meanet_jax.accelerators import skip_absent_tpu
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.parsing import check_field_name, resolve, resolve_grid
from meanet_jax.config.schema import Config
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import ignore_pillow_warnings
from meanet_jax.paths import expanded_path
from meanet_jax.stdout import checked_stdout, open_closed_streams, say_on_stderr

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
CACHE_SCHEMES = ("gs", "s3", "az", "hf")  # that JAX opens, through etils


def run(main: Callable[..., None], *arguments: str) -> None:
  """Parses the flags, calls `main` and exits: 0, the error's status, or 2 for a wrong flag.

  A `UserError` ends as one line on stderr; output that nobody reads any longer (`| head`) without
  a word, with the status of SIGPIPE. Any other exception is a defect and keeps its traceback.

  Args:
    main: called with the positional arguments.
    arguments: their names, each of which must be given.
  """
  open_closed_streams()
  app.run(
    lambda argv: _guarded(lambda: main(*argv[1:])),
    flags_parser=lambda argv: _parse(argv, arguments),
  )


def define_config_flag() -> Callable[[], Config]:
  """Defines `--config FILE` and `--config.FIELD=VALUE`; the result gives the checked configuration.

  Call the result inside `run`. It raises UserError for a file that is missing or fails.
  """
  get = define_experiment_flag()
  return lambda: get()[0]


def define_experiment_flag() -> Callable[[], tuple[Config, GridConfig]]:
  """As `define_config_flag`, and the result gives the configuration's grid as well."""
  holder = config_flags.DEFINE_config_file("config", None, "Path of the configuration file.")

  def get() -> tuple[Config, GridConfig]:
    value: Any = holder.value
    if value is None:
      raise UserError("flag --config is missing; accepted: the path of a configuration file")
    if isinstance(value, ConfigDict):
      return resolve(value), resolve_grid(value)
    try:
      value.lock()  # ml_collections keeps a file's OSError until somebody looks
    except OSError as error:
      raise UserError(f"flag --config: {error}") from error
    except AttributeError:
      pass
    raise UserError(f"flag --config: get_config() returned {value!r}; accepted: a ConfigDict")

  return get


def define_path_flag(
  name: str, default: str | None, help: str, schemes: Sequence[str] = ()
) -> flags.FlagHolder:
  """As `flags.DEFINE_string`, of a path: see `expanded_path`. Every flag that is a path is such."""
  return flags.DEFINE(_PathParser(name, schemes), name, default, help)


def define_path_flags(name: str, default: list[str], help: str) -> flags.FlagHolder:
  """As `define_path_flag`, of a flag that may be given several times."""
  return flags.DEFINE_multi(_PathParser(name), flags.ArgumentSerializer(), name, default, help)


class _PathParser(flags.ArgumentParser):
  def __init__(self, name: str, schemes: Sequence[str] = ()):
    self._name, self._schemes = name, schemes

  def parse(self, argument: str) -> str:
    return expanded_path(argument, f"flag --{self._name}", self._schemes)

  def flag_type(self) -> str:
    return "path"


def define_read_flags() -> Callable[[], ReadOptions]:
  """Defines `--data_dir` and `--workers`; the result gives their values. Call it inside `run`."""
  default = ReadOptions()
  data_dir = define_path_flag(
    "data_dir", default.data_dir, "Where prepared data sets lie; TFDS's own default if not given."
  )
  workers = flags.DEFINE_integer(
    "workers", default.workers, "Processes that decode streamed images.", lower_bound=0
  )
  return lambda: ReadOptions(data_dir.value, workers.value)


def require(value: str | None, flag: str, accepted: str) -> str:
  """The value of a flag that has no default."""
  if not value:
    raise UserError(f"flag --{flag} is missing; accepted: {accepted}")
  return value


def _guarded(main: Callable[[], None]) -> None:
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
    # Orbax tells of every file it writes, and logs with a traceback what it raises as well.
    logging.get_absl_handler().addFilter(lambda record: "orbax" not in record.pathname)
    _silence_closed_loops()
  ignore_pillow_warnings()
  skip_absent_tpu()
  try:
    with checked_stdout():
      _expand_cache_variable()
      main()
  except UserError as error:
    _end(error)
  except KeyboardInterrupt:
    _say("interrupted")
    sys.exit(130)


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

  Writes still under way then print, from TensorStore's threads, that they have no loop to tell of
  theirs. What went wrong is said once, by the error that is raised.
  """
  told = sys.unraisablehook

  def unraisable(found: Any) -> None:
    if found.exc_type is not RuntimeError or str(found.exc_value) != "Event loop is closed":
      told(found)

  sys.unraisablehook = unraisable


def _parse(argv: Sequence[str], arguments: Sequence[str]) -> list[str]:
  try:
    return _parsed(argv, arguments)
  except UserError as error:
    _end(error)


def _parsed(argv: Sequence[str], arguments: Sequence[str]) -> list[str]:
  argv = [argv[0], *_with_config_path(argv[1:])]
  _check_config_arguments(argv[1:])
  try:
    rest = flags.FLAGS(argv)
  except UserError:
    raise
  except Exception as error:  # a wrong flag, or whatever the configuration file raised
    # ml_collections puts a whole traceback into the message; its last line says what happened.
    lines = str(error).strip().splitlines() or [""]
    named = "" if isinstance(error, flags.Error) or len(lines) > 1 else f"{type(error).__name__}: "
    where = "" if isinstance(error, flags.Error) and len(lines) == 1 else "configuration file: "
    raise UserError(f"{where}{named}{lines[-1]}") from error
  given = rest[1:]
  if len(given) > len(arguments):
    accepted = f"{' '.join(arguments)} and flags" if arguments else "flags only"
    raise UserError(f"unexpected argument {given[len(arguments)]!r}; accepted: {accepted}")
  if len(given) < len(arguments):
    raise UserError(f"argument {arguments[len(given)]} is missing; accepted: {' '.join(arguments)}")
  return rest


def _with_config_path(arguments: Sequence[str]) -> list[str]:
  """The arguments with `--config`, which ml_collections parses, made like the other paths."""
  expanded, after_name = list(arguments), False
  for index, argument in enumerate(arguments):
    name, equals, value = argument.lstrip("-").partition("=")
    is_flag = argument.startswith("-") and name == "config"
    if after_name:
      expanded[index] = expanded_path(argument, "flag --config")
    elif is_flag and equals:
      expanded[index] = f"--config={expanded_path(value, 'flag --config')}"
    after_name = is_flag and not equals
  return expanded


def _check_config_arguments(arguments: Sequence[str]) -> None:
  for index, argument in enumerate(arguments):
    name, _, value = argument.lstrip("-").partition("=")
    if name == "config" and "config" in flags.FLAGS:
      path = value or "".join(arguments[index + 1 : index + 2])
      if not Path(path.partition(":")[0]).is_file():
        raise UserError(f"flag --config: no file {path!r}; accepted: a configuration file's path")
    elif name.startswith("config."):
      check_field_name(name.removeprefix("config."))


def _end(error: UserError) -> NoReturn:
  _say(error)
  sys.exit(error.status)


def _say(error: Any) -> None:
  say_on_stderr(f"error: {error}")
