"""What a person sees: bars with rate and time left on a terminal, plain lines elsewhere.

Every text is printed as it is. rich would read `[ms]` as markup and `:cat:` as a picture, so texts
reach it as `Text` here and nowhere else.
"""

import contextlib
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


def listed(names: Sequence[str], most: int = 10) -> str:
  """The names with commas between them; of more than `most` the first, and how many are left."""
  left = len(names) - most
  return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


class _RateColumn(ProgressColumn):
  def render(self, task: Task) -> Text:
    return Text("" if task.speed is None else f"{task.speed:.1f}/s")


def _stdout() -> Console:
  console = Console(highlight=False, soft_wrap=True)
  # A file or pipe has no width to fit; a table there is not to be cut at 80 columns.
  return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=200)


class Reporter:
  """Says what long work is doing. `console` is stdout unless given."""

  def __init__(self, console: Console | None = None):
    self.console = console or _stdout()

  def say(self, text: str) -> None:
    """One line.

    Raises:
      StdoutError: stdout cannot be written, which is not to be taken for the disk of a run.
    """
    self._print(Text(text))

  def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: its first column names what a row is of, the others hold numbers.

    Args:
      title: above it.
      columns: their titles.
      rows: of each, a text for every column.

    Raises:
      StdoutError: as of `say`.
    """
    table = Table(title=Text(title, style="table.title"))
    for index, column in enumerate(columns):
      table.add_column(Text(column), justify="right" if index else "left")
    for row in rows:
      table.add_row(*map(Text, row))
    self._print(table)

  def _print(self, what: RenderableType) -> None:
    try:
      self.console.print(what)
    except BrokenPipeError:
      raise
    except OSError as error:
      raise unwritable(error) from None

  @contextlib.contextmanager
  def progress(self, what: str, total: int, start: int = 0) -> Iterator[Advance]:
    """A context that yields `advance(count, note)`, to be called as the work goes on.

    Args:
      what: the work's name.
      total, start: its length, and how much of that an earlier process has done.
    """
    bar = self._bar if self.console.is_terminal else self._lines
    with bar(what, total, start) as advance:
      yield advance

  @contextlib.contextmanager
  def _bar(self, what: str, total: int, start: int) -> Iterator[Advance]:
    columns = (
      TextColumn("{task.description}", markup=False),
      BarColumn(),
      MofNCompleteColumn(),
      _RateColumn(),
      TimeElapsedColumn(),
      TimeRemainingColumn(),
      TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=self.console) as progress:
      task = progress.add_task(what, total=total, completed=start, note="")
      yield lambda count, note: progress.update(task, advance=count, note=note)

  @contextlib.contextmanager
  def _lines(self, what: str, total: int, start: int) -> Iterator[Advance]:
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
        self.say(f"{what}: {done}/{total}{estimate}  {note}")
      first = first or (now, done)

    yield advance


def silent_reporter() -> Reporter:
  """One that says nothing: of processes beside the first."""
  return Reporter(Console(quiet=True))
