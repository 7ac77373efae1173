import io

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
