import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from meanet_jax import log

pytestmark = pytest.mark.usefixtures("printed")  # which restores where lines go


def run(terminal: bool) -> str:
  screen = Console(file=io.StringIO(), width=120, force_terminal=terminal)
  log.to_console(screen)
  with log.progress("stage main", total=10, start=4) as advance:
    for _ in range(6):
      advance(1, "loss 0.5")
  return screen.file.getvalue()


def test_a_terminal_sees_a_bar_with_rate_and_time_left():
  text = run(terminal=True)
  assert "10/10" in text
  assert "/s" in text
  assert "loss 0.5" in text


def test_elsewhere_plain_lines_now_and_then(monkeypatch):
  assert run(terminal=False) == ""  # over before a line is due
  monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0.0)
  lines = run(terminal=False).splitlines()
  assert len(lines) == 5
  assert lines[0] == "stage main: 5/10  loss 0.5"  # nothing is timed yet
  assert lines[1].startswith("stage main: 6/10, ")
  assert lines[1].endswith("s left  loss 0.5")
  assert "\x1b" not in "".join(lines)


AWKWARD = "energy [mJ] [bold]x[/bold] :cat: [/] \\[red]"


def shown(terminal: bool, show: Callable[[], None]) -> str:
  screen = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)
  log.to_console(screen)
  show()
  return screen.file.getvalue()


def test_texts_are_printed_as_they_are():
  for terminal in (False, True):
    assert shown(terminal, lambda: log.logger.info(AWKWARD)).rstrip("\n") == AWKWARD
    table = shown(
      terminal, lambda: log.table(f"title {AWKWARD}", (f"a {AWKWARD}", "b"), [(AWKWARD, "[ms]")])
    )
    for text in (f"title {AWKWARD}", f"a {AWKWARD}", f" {AWKWARD} ", "[ms]"):
      assert text in table


def test_a_bar_shows_names_and_notes_as_they_are():
  def show() -> None:
    with log.progress("stage [main]", total=2) as advance:
      advance(1, "[/] :cat:")

  text = shown(True, show)
  assert "stage [main]" in text
  assert "[/] :cat:" in text


def test_texts_reach_rich_through_the_console_alone():
  package = Path(log.__file__).parent
  for path in package.rglob("*.py"):
    if path.name != "log.py":
      found = re.findall(r"rich\.(?:table|text|markup)|console\.print\(", path.read_text())
      assert not found, path


def test_the_estimate_leaves_out_what_came_before_the_first_step(monkeypatch):
  """10 s of compilation, then 8 steps a second: after 81 of 300 27 s are left."""
  clock = [100.0]
  monkeypatch.setattr(time, "monotonic", lambda: clock[0])
  monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 10.0)
  screen = Console(file=io.StringIO(), width=120)
  log.to_console(screen)
  with log.progress("stage main", total=300) as advance:
    clock[0] += 10
    advance(1, "")
    for _ in range(80):
      clock[0] += 0.125
      advance(1, "")
  lines = [line.rstrip() for line in screen.file.getvalue().splitlines()]
  assert lines == ["stage main: 1/300", "stage main: 81/300, 8.0/s, 27 s left"]


def test_without_a_console_lines_and_tables_go_where_logging_puts_them(caplog):
  log.logger.handlers[:], log.logger.propagate = [], True
  with caplog.at_level("INFO", logger="meanet_jax"):
    log.logger.warning("no font")
    log.table("systems", ("system", "accuracy"), [("meanet", "98.6")])
  assert caplog.messages[0] == "no font"
  assert "meanet" in caplog.messages[1]
  assert "98.6" in caplog.messages[1]


def test_a_warning_begins_with_the_word():
  assert shown(False, lambda: log.logger.warning("no font")) == "warning: no font\n"
