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
