import pytest

from meanet_jax.errors import UserError
from meanet_jax.runs.metrics import MetricsFile


def test_rewind_drops_later_steps_of_one_stage_and_half_a_line(tmp_path):
  metrics = MetricsFile(tmp_path / "metrics.jsonl")
  metrics.rewind("main", 0)  # nothing there yet
  metrics.write("main", 10, 0.5, {"loss": 1.25})
  metrics.write("main", 20, 1.0, {"loss": 1.0})
  metrics.write("edge", 30, 1.0, {"loss": 0.5})
  with metrics.path.open("a") as file:
    file.write('{"stage": "main", "st')
  metrics.rewind("main", 10)
  assert metrics.path.read_text() == (
    '{"stage": "main", "step": 10, "epoch": 0.5, "loss": 1.25}\n'
    '{"stage": "edge", "step": 30, "epoch": 1.0, "loss": 0.5}\n'
  )


@pytest.mark.parametrize(
  "wrong",
  [
    b'{"stage": "main", "step": 1',
    b"",
    b"\xff",
    b"7",
    b'{"step": 1}',
    b'{"stage": "a", "step": ""}',
  ],
)
def test_a_line_that_cannot_be_read_is_named_in_one_line(tmp_path, wrong):
  metrics = MetricsFile(tmp_path / "metrics.jsonl")
  complete = b'{"stage": "main", "step": 1, "epoch": 0.1, "loss": 1.0}'
  metrics.path.write_bytes(b"\n".join([complete, wrong, complete, b""]))
  begins = f"^{metrics.path}, line 2, cannot be read \\(.+\\); remove that line, or restore"
  with pytest.raises(UserError, match=begins) as caught:
    metrics.rewind("main", 0)
  assert "\n" not in str(caught.value)
  assert metrics.path.read_bytes().count(b"\n") == 3  # left as it is
