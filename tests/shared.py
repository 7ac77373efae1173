"""Artifacts on disk that one worker builds and all of them read: a finished run, an export."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

Files = dict[str, list[int]]  # size and time of change, in ns, by name


class Artifacts:
  """`get(name, build)`: a directory that `build` filled, once for all workers of this test run.

  Tests read it and copy it; none writes to it, which the end of the session checks.
  """

  def __init__(self, root: Path):
    self._root = root
    self._used: dict[Path, Files] = {}
    root.mkdir(exist_ok=True)

  def get(self, name: str, build: Callable[[Path], object]) -> Path:
    path, built = self._root / name, self._root / f"{name}.json"
    with FileLock(self._root / f"{name}.lock"):
      if not built.exists():
        shutil.rmtree(path, ignore_errors=True)  # of a build that failed
        path.mkdir()
        build(path)
        built.write_text(json.dumps(_files(path)))
      self._used[path] = json.loads(built.read_text())
    return path

  def check(self) -> None:
    for path, files in self._used.items():
      found = _files(path)
      changed = [name for name in files | found if files.get(name) != found.get(name)]
      assert not changed, f"a test has written to {path.name}: {changed}; accepted: a copy"


def _files(path: Path) -> Files:
  found = ((file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file())
  return {
    str(file.relative_to(path)): [status.st_size, status.st_mtime_ns] for file, status in found
  }
