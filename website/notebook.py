"""A notebook as a page of Markdown, with what its cells printed and drew when it was run."""

import base64
import json
from pathlib import Path
from typing import Any


def notebook_page(notebook: Path, figures: Path) -> str:
  """The Markdown of a notebook; its figures are written into a folder beside the page."""
  cells = json.loads(notebook.read_text())["cells"]
  figures.mkdir(parents=True, exist_ok=True)
  parts = []
  for number, cell in enumerate(cells):
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
      parts.append(source)
      continue
    parts.append(f"```python\n{source}\n```")
    for index, output in enumerate(cell["outputs"]):
      parts.append(_output(output, figures / f"{notebook.stem}-{number}-{index}.png"))
  return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any], figure: Path) -> str:
  """What a cell gave: its text, or a figure with its alternative text."""
  data = output.get("data", {})
  if "image/png" in data:
    figure.write_bytes(base64.b64decode("".join(data["image/png"])))
    words = "".join(data.get("text/plain", "")) or "figure"
    return f"![{words.strip('<>')}]({figure.parent.name}/{figure.name})"
  text = "".join(output.get("text", data.get("text/plain", "")))
  return f"```text\n{text.rstrip()}\n```"
