"""Standard streams that are closed or full, as a shell hands them over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(tmp_path: Path, script: str, redirections: str) -> subprocess.CompletedProcess:
  file = tmp_path / "script.py"
  file.write_text(script)
  return subprocess.run(
    ["sh", "-c", f'exec "$0" "$1" {redirections}', sys.executable, str(file)],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )


WRITES = """
import os, sys
from meanet_jax.stdout import open_closed_streams
open_closed_streams()
with open("data", "w") as data:
  assert data.fileno() > 2, data.fileno()
  print("to stdout", flush=True)
  print("to stderr", file=sys.stderr, flush=True)
  for descriptor in (1, 2):
    os.write(descriptor, b"of a library")
  assert sys.stdin.read() == ""
  data.write("the data")
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_what_is_written_to_a_closed_stream_lands_in_no_file(tmp_path, closed):
  done = run(tmp_path, WRITES, f"{closed} </dev/null" if "<" not in closed else closed)
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "data").read_text() == "the data"
  assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "to stdout\nof a library")


FULL = (
  "error: standard output cannot be written: No space left on device; accepted: one with space\n"
)
COMMAND = """
import sys
from meanet_jax.commands.app import run_script
from meanet_jax.errors import UserError
def main():
  print("done")
  {end}
sys.exit(run_script(None, lambda _: None, lambda _: main()))
"""


@pytest.mark.parametrize(
  ("end", "redirections", "status", "errors"),
  [
    ("", ">&-", 0, ""),
    ("", "2>&-", 0, ""),
    ("", "<&- >&- 2>&-", 0, ""),
    ("", "2>/dev/full", 0, ""),
    ("raise UserError('what')", ">&-", 2, "error: what\n"),
    ("raise UserError('what')", "2>&-", 2, ""),
    ("raise UserError('what')", "2>/dev/full", 2, ""),
    ("", ">/dev/full", 2, FULL),
  ],
)
def test_the_status_is_that_of_the_work(tmp_path, end, redirections, status, errors):
  done = run(tmp_path, COMMAND.format(end=end), redirections)
  assert (done.returncode, done.stderr) == (status, errors)


REPORTS = """
from pathlib import Path
import sys
from meanet_jax.commands.app import run_script
from meanet_jax import log
from meanet_jax.runs.disk import full_disk_in_one_line
def main():
  with full_disk_in_one_line(Path("run")):
    log.to_console()
    log.logger.info("stage main")
sys.exit(run_script(None, lambda _: None, lambda _: main()))
"""


def test_a_full_standard_output_is_not_taken_for_the_disk_of_the_run(tmp_path):
  done = run(tmp_path, REPORTS, ">/dev/full")
  assert (done.returncode, done.stderr) == (2, FULL)
