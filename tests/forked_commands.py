"""Commands in processes of their own, forked from one that has imported the package.

They have their own flags, signals, exit status and file descriptors, as a user's have, and start in
a tenth of a second instead of several. What such a process cannot show, a start from nothing and
what happens at the interpreter's end, has tests with real ones.
"""

import atexit
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
TIMEOUT = 300.0  # s; no command of these tests takes a tenth of it
# A status can be read once from where it comes, and whoever is second reads 255: threads that ask
# for it, and every start, which asks for those of all commands before.
_STATUSES = threading.Lock()


@functools.cache
def _outputs() -> Path:
  """Where commands of this process write; removed at its end."""
  path = Path(tempfile.mkdtemp(prefix="meanet_jax_commands_"))
  atexit.register(shutil.rmtree, path, ignore_errors=True)
  return path


def processor_seconds() -> float:
  """Of all commands that have ended by themselves, with the processes that they waited for."""
  path = _outputs() / "seconds"
  return sum(map(float, path.read_text().split())) if path.exists() else 0.0


class Running:
  """A command under way, with what `subprocess.Popen` has of `pid`, signals, status and waiting."""

  def __init__(self, arguments: tuple[str, ...], env: Mapping[str, str], cwd: Path, merged: bool):
    self.args = arguments
    self.returncode: int | None = None
    folder = Path(tempfile.mkdtemp(dir=_outputs()))
    out = folder / "stdout"
    err = out if merged else folder / "stderr"
    self._outputs = (out, err)
    for path in self._outputs:
      path.touch()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    self._process = context.Process(
      target=_command, args=(arguments, {**os.environ, **env}, cwd, str(out), str(err))
    )
    with _importable(), _STATUSES:
      self._process.start()
    self.pid = self._process.pid

  def poll(self) -> int | None:
    with _STATUSES:
      self.returncode = self._process.exitcode
    return self.returncode

  def wait(self, timeout: float = TIMEOUT) -> int:
    multiprocessing.connection.wait([self._process.sentinel], timeout)
    status = self.poll()
    if status is None:
      raise subprocess.TimeoutExpired(self.args, timeout)
    return status

  def communicate(self, timeout: float = TIMEOUT) -> tuple[str, str]:
    """Everything that it wrote to stdout and to stderr, once it has ended."""
    self.wait(timeout)
    out, err = (path.read_text() for path in self._outputs)
    return out, err

  def lines(self) -> Iterator[str]:
    """Lines of stdout as they are written, until it ends."""
    with self._outputs[0].open() as file:
      line = ""
      while True:
        ended = self.poll() is not None
        line += file.readline()
        if line.endswith("\n"):
          yield line
          line = ""
        elif ended:
          return
        else:
          time.sleep(0.01)

  def send_signal(self, number: int) -> None:
    if self.poll() is None:
      os.kill(self.pid, number)

  def terminate(self) -> None:
    self.send_signal(signal.SIGTERM)

  def kill(self) -> None:
    self.send_signal(signal.SIGKILL)


def start_command(
  *arguments: str | Path,
  env: Mapping[str, str] | None = None,
  cwd: Path = ROOT,
  merged: bool = False,
) -> Running:
  """Starts `python ARGUMENTS`: a script and its arguments, or -m and a module, or -c and code.

  `-m meanet_jax COMMAND` is any command.

  Args:
    arguments: what follows `python`.
    env: what is added to this process' environment.
    cwd: where it runs.
    merged: stderr goes where stdout goes.
  """
  return Running(tuple(map(str, arguments)), env or {}, cwd, merged)


def run_command(
  *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
  """As `start_command`, and waits for its end."""
  running = start_command(*arguments, env=env, cwd=cwd)
  try:
    out, err = running.communicate()
  finally:
    running.kill()
  return subprocess.CompletedProcess(running.args, running.wait(), out, err)


@contextlib.contextmanager
def _importable():
  """The server that is forked from finds `tests` by its path, whoever started pytest."""
  before = os.environ.get("PYTHONPATH")
  os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
  try:
    yield
  finally:
    if before is None:
      del os.environ["PYTHONPATH"]
    else:
      os.environ["PYTHONPATH"] = before


def _command(
  arguments: tuple[str, ...], environment: dict[str, str], cwd: Path, out: str, err: str
) -> None:
  for number, path in ((1, out), (2, err)):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, number)
    os.close(descriptor)
  os.environ.clear()
  os.environ.update(environment)
  os.chdir(cwd)
  begun = os.times()
  try:
    _execute(arguments[0], arguments[1:], cwd)
  finally:
    seconds = sum(os.times()[:4]) - sum(begun[:4])
    with (Path(out).parent.parent / "seconds").open("a") as file:  # in one piece, beside others
      file.write(f"{seconds}\n")


def _execute(how: str, rest: tuple[str, ...], cwd: Path) -> None:
  if how == "-m":
    sys.argv = list(rest)
    sys.path.insert(0, str(cwd))
    for name in (rest[0], f"{rest[0]}.__main__"):
      if name != "meanet_jax":
        sys.modules.pop(name, None)  # the server may have imported it
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
  elif how == "-c":
    sys.argv = ["-c", *rest[1:]]
    sys.path.insert(0, str(cwd))
    exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
  else:
    path = cwd / how
    sys.argv = [how, *rest]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")
