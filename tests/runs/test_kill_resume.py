"""What benchmarks/kill_resume.py takes for a save that a kill has hit."""

import shutil

from benchmarks.kill_resume import is_writing, left_over


def test_only_a_save_of_the_killed_process_counts(tmp_path):
  partial = tmp_path / "checkpoints" / "main" / "12.orbax-checkpoint-tmp"
  partial.mkdir(parents=True)
  with left_over(tmp_path) as old:
    assert not is_writing(tmp_path, old)  # what the process before left
    shutil.rmtree(partial)
    assert not is_writing(tmp_path, old)
    for _ in range(20):  # a new one might be given the old one's inode
      partial.mkdir()
      assert is_writing(tmp_path, old)
      shutil.rmtree(partial)
    (partial.parent / "12").mkdir()
    assert not is_writing(tmp_path, old)
