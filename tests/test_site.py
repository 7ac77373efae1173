"""The site holds every page, every field and every flag, and the notebook runs."""

import argparse
import json
import re
from pathlib import Path

import jax
import pytest

from meanet_jax.commands.app import COMMANDS, parser_of
from meanet_jax.config.documentation import documented
from meanet_jax.config.schema import Config
from website.build import gather
from website.navigation import SECTIONS
from website.notebook import notebook_page
from website.reference import reference_pages

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def test_every_page_of_the_documents_is_in_the_navigation_once(tmp_path):
  gather(tmp_path)
  listed = [f"{page}.md" for section in SECTIONS for page in section.pages]
  held = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.md")}
  assert sorted(listed) == sorted(path for path in held if not path.startswith("benchmarks/"))
  assert {f"benchmarks/{path.name}" for path in ROOT.glob("benchmarks/*.md")} <= held


def test_the_reference_has_every_field_and_every_flag():
  pages = reference_pages()
  fields = re.findall(r"^`(\S+) = ", pages["reference/configuration.md"], re.MULTILINE)
  assert {field.path for field in documented(Config())} <= {*fields}
  assert len(fields) == len({*fields})
  commands = pages["reference/commands.md"].split("\n## meanet ")[1:]
  assert [text.split("\n")[0] for text in commands] == list(COMMANDS)
  for name, text in zip(COMMANDS, commands, strict=True):
    shown = re.findall(r"--[a-z][\w.-]*", " ".join(re.findall(r"^`(.*)`$", text, re.MULTILINE)))
    taken = [action for action in parser_of(name)._actions if action.help != argparse.SUPPRESS]
    flags = {flag for action in taken for flag in action.option_strings if len(flag) > 2}
    assert flags - {"--help"} <= {*shown}


def test_a_notebook_becomes_a_page(tmp_path):
  drawn = {"data": {"image/png": "aGk=", "text/plain": ["<Figure>"]}}
  cells = [
    {"cell_type": "markdown", "source": ["# Title\n", "words"]},
    {"cell_type": "code", "source": ["draw()"], "outputs": [{"text": ["one\n"]}, drawn]},
  ]
  path = tmp_path / "some.ipynb"
  path.write_text(json.dumps({"cells": cells}))
  assert notebook_page(path, tmp_path / "figures") == (
    "# Title\nwords\n\n```python\ndraw()\n```\n\n```text\none\n```\n\n"
    "![Figure](figures/some-1-1.png)\n"
  )
  assert (tmp_path / "figures" / "some-1-1.png").read_bytes() == b"hi"


@pytest.mark.full
def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
  """Its cells, one after another; the figures are drawn and not shown."""
  import matplotlib.pyplot as plt

  monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  monkeypatch.setattr("tempfile.tempdir", None)
  scope: dict[str, object] = {}
  # As a user's process has it: optax's schedules are not written for strict promotion.
  with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
      if cell["cell_type"] == "code":
        exec("".join(cell["source"]), scope)
  assert "images per exit:" in capsys.readouterr().out
