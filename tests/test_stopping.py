"""Signals that ask to end, in process; tests/training/test_stopping.py ends whole commands."""

import os
import pickle
import pty
import signal

import pytest

from meanet_jax import stopping
from meanet_jax.errors import StreamStoppedError, TrainingStoppedError
from meanet_jax.stopping import heeded, leave_to_parent, never, stop_on_signals

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
  """Python's own, whoever started pytest and ignores some, and afterwards as they were."""
  before = {number: signal.getsignal(number) for number in ALL}
  for number in ALL:
    signal.signal(number, signal.default_int_handler)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


def test_the_first_is_told_and_the_second_does_what_the_first_would_have():
  heard: list[int] = []
  for number in ALL:
    signal.signal(number, lambda number, _: heard.append(number))
  for number in ALL:
    with stop_on_signals() as stop:
      assert stop() is None
      os.kill(os.getpid(), number)
      assert stop() == number
      assert not heard
      os.kill(os.getpid(), number)
      assert heard == [number]
    heard.clear()
    os.kill(os.getpid(), number)  # handled as before, once the context is left
    assert heard == [number]
    heard.clear()
  assert never() is None


def test_without_a_signal_they_are_handled_as_before_too():
  with stop_on_signals() as stop:
    assert {signal.getsignal(number) for number in ALL}.isdisjoint({signal.default_int_handler})
  assert {signal.getsignal(number) for number in ALL} == {signal.default_int_handler}
  assert stop() is None


def test_what_nohup_ignores_stays_ignored():
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  assert heeded() == (signal.SIGINT, signal.SIGTERM)
  with stop_on_signals() as stop:
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGHUP)
    assert stop() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_another_hears_is_passed_on(number):
  """Several processes agree through JAX's preemption service, which hears SIGTERM alone."""
  heard: list[int] = []
  signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
  with stop_on_signals(pass_on=signal.SIGTERM) as own:
    os.kill(os.getpid(), number)
    assert (own(), heard) == (number, [signal.SIGTERM])
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM] * 2


def test_workers_leave_signals_to_their_parent(monkeypatch):
  started = []
  monkeypatch.setattr(stopping.threading.Timer, "start", lambda timer: started.append(timer))
  leave_to_parent()
  for number in ALL:
    os.kill(os.getpid(), number)
  assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  (timer,) = started
  assert (timer.function, timer.args, timer.daemon) == (os._exit, [143], True)
  assert 10 < timer.interval < 300  # time to save in, and an end


def test_a_terminal_is_told_of_ctrl_c_and_one_that_is_gone_takes_no_more(monkeypatch):
  ours, theirs = pty.openpty()
  kept = os.dup(2)
  try:
    os.dup2(theirs, 2)
    with stop_on_signals():
      os.kill(os.getpid(), signal.SIGINT)
    assert b"finishing what is under way; Ctrl-C again ends at once" in os.read(ours, 100)
    with stop_on_signals() as stop:
      os.close(ours)  # the terminal's window is closed
      with pytest.raises(OSError, match="Input/output error"):
        os.write(2, b"x")
      os.kill(os.getpid(), signal.SIGHUP)
      assert stop() == signal.SIGHUP
      assert os.write(2, b"x") == 1  # to nobody
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(theirs)


@pytest.mark.parametrize("kind", [TrainingStoppedError, StreamStoppedError])
@pytest.mark.parametrize("number", ALL)
def test_the_error_names_the_signal_and_has_its_status(kind, number):
  error = kind(number, "after step 3; the same command goes on from there")
  again = pickle.loads(pickle.dumps(error))  # as processes hand it to one another
  for found in (error, again):
    assert str(found) == (
      f"stopped by {number.name} after step 3; the same command goes on from there"
    )
    assert found.status == 128 + number
    assert found.everywhere == (kind is TrainingStoppedError)
