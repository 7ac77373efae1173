import optax

from meanet_jax.runs.stage_files import StageFiles
from meanet_jax.training.metrics import NO_SUMS, SUMS, StageLog


class Recorder(StageFiles):
  """What happened, in order."""

  def __init__(self):
    self.events: list[str] = []

  def metrics(self, step, epoch, values):
    self.events.append(f"line {step} at epoch {epoch:g}: loss {values['loss']:g}")


class Sum:
  """A number on a device: to ask for it is to wait for its step."""

  def __init__(self, step: int, events: list[str]):
    self._step, self._events = step, events

  def __float__(self) -> float:
    if f"fetched {self._step}" not in self._events:
      self._events.append(f"fetched {self._step}")
    return float(self._step)


def test_no_sum_is_fetched_before_the_next_step_is_dispatched():
  """Those of a line neither."""
  files = Recorder()
  log = StageLog("main", 10, files, optax.constant_schedule(0.1), NO_SUMS)

  def dispatch(step: int) -> None:
    files.events.append(f"dispatched {step}")
    sums = {name: Sum(step, files.events) for name in SUMS} | {"examples": 1.0}
    log.add(step, sums, step % 2 == 0)

  for step in range(1, 6):
    dispatch(step)
  assert files.events == [
    *("dispatched 1", "dispatched 2", "fetched 1", "dispatched 3", "fetched 2"),
    *("line 2 at epoch 0.2: loss 1.5", "dispatched 4", "fetched 3", "dispatched 5", "fetched 4"),
    "line 4 at epoch 0.4: loss 3.5",
  ]
  log.flush()
  log.flush()
  assert files.events[11:] == ["fetched 5", "line 5 at epoch 0.5: loss 5"]
