"""An export with other fields in its edge.json."""

import json
from pathlib import Path

from meanet_jax.files import read_json


def rewritten(exported: Path, directory: Path, **fields) -> Path:
  """A new directory with the export's model, and these fields in place of its own."""
  directory.mkdir()
  source = read_json(exported / "edge.json")
  (directory / "edge.json").write_text(json.dumps(source | fields))
  (directory / "edge.tflite").symlink_to(exported / "edge.tflite")
  return directory
