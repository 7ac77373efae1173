"""Builds the site: python -m website.build build/site. Warnings of Sphinx are errors.

The pages are those of the repository. They are copied to where they have the same relative links,
beside the pages that are made here, so that nothing is written into the checkout.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from website.diagrams import with_diagrams
from website.navigation import benchmarks_toctree, toctrees
from website.notebook import notebook_page
from website.reference import reference_pages

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "benchmarks", "deploy")  # of which the pages and their figures are copied
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
README_LINK = re.compile(r"\]\(\.\./README\.md")


def build(out: Path) -> int:
  """Writes the site into a folder, whose content is replaced; the exit status."""
  from sphinx.cmd.build import build_main  # here, so that tests can gather pages without it  # pyright: ignore[reportMissingImports]

  with tempfile.TemporaryDirectory() as folder:
    source = Path(folder, "source")
    gather(source)
    made = Path(folder, "site")
    flags = ["--fail-on-warning", "--keep-going", "--quiet", "--jobs=auto", "--builder=html"]
    status = build_main([*flags, f"--conf-dir={Path(__file__).parent}", str(source), str(made)])
    if status:
      return status
    shutil.rmtree(made / ".doctrees", ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(made, out)
  print(f"the site is in {out}")
  return 0


def gather(source: Path) -> None:
  """Writes every page of the site into a folder."""
  for name in FOLDERS:
    for path in sorted((ROOT / name).iterdir()):
      if path.suffix in (".md", ".png", ".svg"):
        _write(source / name / path.name, path.read_bytes())
  for name in PAGES:
    _write(source / name, (ROOT / name).read_bytes())
  for name in ("LICENSE", "CITATION.cff", "deploy/train.yaml"):  # linked as files
    _write(source / name, (ROOT / name).read_bytes())
  _write(source / "index.md", ((ROOT / "README.md").read_text() + toctrees()).encode())
  with (source / "docs" / "benchmarks.md").open("a") as page:
    page.write(benchmarks_toctree())
  for name, text in reference_pages().items():
    _write(source / name, text.encode())
  for path in sorted((ROOT / "docs").glob("*.ipynb")):
    text = notebook_page(path, source / "docs" / "notebook_figures")
    _write(source / "docs" / f"{path.stem}.md", text.encode())


def _write(path: Path, content: bytes) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".md":
    text = README_LINK.sub("](../index.md", content.decode())
    content = with_diagrams(text).encode()
  path.write_bytes(content)


if __name__ == "__main__":
  sys.exit(build(Path(sys.argv[1])))
