"""What a person sees of long work: lines through `logging`, progress, and tables.

Lines go to the logger `meanet_jax`, as in any library. A command calls `to_console`; then a bar
with rate and time left is drawn on a terminal, and a line is written now and then elsewhere.

Every text is printed as it is. rich would read `[ms]` as markup and `:cat:` as a picture, so texts
reach it as `Text` here and nowhere else.
"""

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  ProgressColumn,
  Task,
  TextColumn,
  TimeElapsedColumn,
  TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from meanet_jax.stdout import unwritable

SECONDS_BETWEEN_LINES = 10.0
Advance = Callable[[int, str], None]

logger = logging.getLogger("meanet_jax")


def to_console(console: Console | None = None) -> None:
  """From now on, everything is printed on `console`: stdout unless given.

  What cannot be written raises StdoutError where it is logged.
  """
  for handler in list(logger.handlers):
    if isinstance(handler, ConsoleHandler):
      logger.removeHandler(handler)
  logger.addHandler(ConsoleHandler(console or _stdout()))
  logger.setLevel(logging.INFO)
  logger.propagate = False


def to_stderr() -> None:
  """As `to_console`, beside answers that go to stdout."""
  to_console(Console(stderr=True, highlight=False, soft_wrap=True))


def to_nobody() -> None:
  """From now on, nothing is printed: for processes beside the first."""
  to_console(Console(quiet=True))


class ConsoleHandler(logging.Handler):
  """Prints records on a rich console; a warning begins with the word."""

  def __init__(self, console: Console):
    super().__init__()
    self.console = console

  def emit(self, record: logging.LogRecord) -> None:
    """Prints one record.

    Raises:
      StdoutError: the console cannot be written, which is not to be taken for the disk of a run.
    """
    text = record.getMessage()
    _print(self.console, Text(f"warning: {text}" if record.levelno >= logging.WARNING else text))


def listed(names: Sequence[str], most: int = 10) -> str:
  """The names with commas between them; of more than `most` the first, and how many are left."""
  left = len(names) - most
  return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
  """Logs a table: its first column names what a row is of, the others hold numbers.

  Args:
    title: above it.
    columns: their titles.
    rows: of each, a text for every column.

  Raises:
    StdoutError: the console cannot be written.
  """
  made = Table(title=Text(title, style="table.title"))
  for index, column in enumerate(columns):
    made.add_column(Text(column), justify="right" if index else "left")
  for row in rows:
    made.add_row(*map(Text, row))
  console = _console()
  if console is not None:
    _print(console, made)
  elif logger.isEnabledFor(logging.INFO):
    text = io.StringIO()
    Console(file=text, width=200).print(made)
    logger.info(text.getvalue())


@contextlib.contextmanager
def progress(what: str, total: int, start: int = 0) -> Iterator[Advance]:
  """A context that yields `advance(count, note)`, to be called as the work goes on.

  Args:
    what: the work's name.
    total, start: its length, and how much of that an earlier process has done.
  """
  console = _console()
  if console is not None and console.is_terminal:
    with _bar(console, what, total, start) as advance:
      yield advance
  else:
    yield _lines(what, total, start)


def _console() -> Console | None:
  return next((h.console for h in logger.handlers if isinstance(h, ConsoleHandler)), None)


def _stdout() -> Console:
  console = Console(highlight=False, soft_wrap=True)
  # A file or pipe has no width to fit; a table there is not to be cut at 80 columns.
  return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=200)


def _print(console: Console, what: RenderableType) -> None:
  try:
    console.print(what)
  except BrokenPipeError:
    raise
  except OSError as error:
    raise unwritable(error) from None


class _RateColumn(ProgressColumn):
  def render(self, task: Task) -> Text:
    return Text("" if task.speed is None else f"{task.speed:.1f}/s")


@contextlib.contextmanager
def _bar(console: Console, what: str, total: int, start: int) -> Iterator[Advance]:
  columns = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    _RateColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.fields[note]}", markup=False),
  )
  with Progress(*columns, console=console) as shown:
    task = shown.add_task(what, total=total, completed=start, note="")
    yield lambda count, note: shown.update(task, advance=count, note=note)


def _lines(what: str, total: int, start: int) -> Advance:
  last = time.monotonic()
  done = start
  # When the first part was done, which had to be compiled or opened for as well, and how much
  # that was: the others are timed from there.
  first: tuple[float, int] | None = None

  def advance(count: int, note: str) -> None:
    nonlocal done, last, first
    done += count
    now = time.monotonic()
    if now - last >= SECONDS_BETWEEN_LINES and done < total:
      last = now
      estimate = ""
      if first is not None and now > first[0] and done > first[1]:
        rate = (done - first[1]) / (now - first[0])
        estimate = f", {rate:.1f}/s, {(total - done) / rate:.0f} s left"
      logger.info(f"{what}: {done}/{total}{estimate}  {note}")
    first = first or (now, done)

  return advance
