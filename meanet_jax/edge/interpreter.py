"""The signatures of an exported edge in LiteRT's interpreter, checked against edge.json."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from meanet_jax.edge.manifest import EDGE, MANIFEST, Manifest, read_model
from meanet_jax.errors import UserError

# A signature: arrays by name to arrays by name.
Run = Callable[..., dict[str, np.ndarray]]


def open_signatures(directory: str | Path, manifest: Manifest, num_threads: int) -> tuple[Run, Run]:
  """The signatures `main` and `extension`.

  Args:
    directory: what `meanet export` wrote.
    manifest: its edge.json.
    num_threads: of the interpreter.

  Raises:
    UserError: no LiteRT here; a file that is missing, damaged, or not what edge.json says.
  """
  data = read_model(directory, EDGE, manifest)
  path = Path(directory) / EDGE
  try:
    # Here, so that a device without it gets one line that says so.
    from ai_edge_litert.interpreter import Interpreter
  except ModuleNotFoundError as error:
    raise UserError(
      f"the edge runs in LiteRT, and {error.name} is not installed; "
      "accepted: pip install ai-edge-litert"
    ) from error
  try:
    interpreter = Interpreter(model_content=data, num_threads=num_threads)
    main, extension = map(interpreter.get_signature_runner, ("main", "extension"))
  except (ValueError, RuntimeError) as error:
    raise UserError(
      f"{path} cannot be run: {error}; accepted: signatures main and extension"
    ) from error
  _check_signatures(path, manifest, [main, extension])
  return main, extension


def _check_signatures(path: Path, manifest: Manifest, runners: list[Any]) -> None:
  expected = ([manifest.batch_size, *manifest.image_shape], manifest.image_dtype)
  for runner in runners:
    image = runner.get_input_details()["image"]
    found = (image["shape"].tolist(), np.dtype(image["dtype"]).name)
    if found != expected:
      raise UserError(
        f"{path} takes images {found[1]} {found[0]}; "
        f"accepted: {expected[1]} {expected[0]}, as {MANIFEST} says"
      )
  hard_classes = manifest.operating_point.hard_classes
  known = (hard_classes.num_classes, len(hard_classes.known))
  for name, runner, classes in zip(("main", "extension"), runners, known, strict=True):
    width = int(runner.get_output_details()["logits"]["shape"][-1])
    if width != classes:
      raise UserError(
        f"{path} has {width} classes at exit {name}; accepted: {classes}, as {MANIFEST} says"
      )
