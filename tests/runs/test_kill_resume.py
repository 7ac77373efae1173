"""What benchmarks/kill_resume.py takes for a save that a kill has hit."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In a process of its own: the benchmark's flags have the names of other commands' flags.
SCRIPT = """
import shutil, sys
from pathlib import Path
from benchmarks.kill_resume import is_writing, left_over

run = Path(sys.argv[1])
partial = run / "checkpoints" / "main" / "12.orbax-checkpoint-tmp"
partial.mkdir(parents=True)
with left_over(run) as old:
  found = [is_writing(run, old)]  # what the process before left
  shutil.rmtree(partial)
  found.append(is_writing(run, old))
  for _ in range(20):  # a new one might be given the old one's inode
    partial.mkdir()
    found.append(is_writing(run, old))
    shutil.rmtree(partial)
  (partial.parent / "12").mkdir()
  found.append(is_writing(run, old))
print(found == [False, False, *[True] * 20, False], found)
"""


def test_only_a_save_of_the_killed_process_counts(tmp_path):
  ended = subprocess.run(
    [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
  )
  assert ended.stdout.startswith("True"), ended.stdout + ended.stderr
