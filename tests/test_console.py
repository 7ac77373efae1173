import io
import re
from pathlib import Path

from rich.console import Console

from meanet_jax import console
from meanet_jax.console import Reporter


def run(terminal: bool) -> str:
  screen = Console(file=io.StringIO(), width=120, force_terminal=terminal)
  with Reporter(screen).progress("stage main", total=10, start=4) as advance:
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
  monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
  lines = run(terminal=False).splitlines()
  assert len(lines) == 5
  assert lines[0].startswith("stage main: 5/10, ")
  assert lines[0].endswith("s left  loss 0.5")
  assert "\x1b" not in "".join(lines)


AWKWARD = "energy [mJ] [bold]x[/bold] :cat: [/] \\[red]"


def printed(terminal: bool, show) -> str:
  screen = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)
  show(Reporter(screen))
  return screen.file.getvalue()


def test_texts_are_printed_as_they_are():
  for terminal in (False, True):
    assert printed(terminal, lambda r: r.say(AWKWARD)).rstrip("\n") == AWKWARD
    table = printed(
      terminal, lambda r: r.table(f"title {AWKWARD}", (f"a {AWKWARD}", "b"), [(AWKWARD, "[ms]")])
    )
    for text in (f"title {AWKWARD}", f"a {AWKWARD}", f" {AWKWARD} ", "[ms]"):
      assert text in table


def test_a_bar_shows_names_and_notes_as_they_are():
  def show(reporter: Reporter) -> None:
    with reporter.progress("stage [main]", total=2) as advance:
      advance(1, "[/] :cat:")

  text = printed(True, show)
  assert "stage [main]" in text
  assert "[/] :cat:" in text


def test_texts_reach_rich_through_the_console_alone():
  package = Path(console.__file__).parent
  for path in package.rglob("*.py"):
    if path.name != "console.py":
      found = re.findall(r"rich\.(?:table|text|markup)|console\.print\(", path.read_text())
      assert not found, path
