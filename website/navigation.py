"""Which pages the site has, in which order, and where their text comes from."""

from typing import NamedTuple


class Section(NamedTuple):
  """A heading of the navigation. pages: their files below the checkout, without `.md`."""

  title: str
  pages: tuple[str, ...]


SECTIONS = (
  Section("Getting started", ("index", "docs/tutorial", "docs/notebook", "docs/own_images")),
  Section("Concepts", ("docs/concepts", "docs/evaluation", "docs/decisions")),
  Section(
    "How to",
    (
      "docs/training",
      "docs/data",
      "docs/distributed",
      "docs/grids",
      "docs/own_networks",
      "docs/own_logits",
      "docs/export",
      "docs/phone",
      "docs/device_profiles",
      "docs/link",
      "deploy/README",
    ),
  ),
  Section(
    "Reference",
    ("docs/api", "reference/api", "reference/configuration", "reference/commands", "docs/runs"),
  ),
  Section("Measured", ("docs/benchmarks",)),
  Section("Development", ("docs/architecture", "CONTRIBUTING", "docs/testing", "CHANGELOG")),
)


def toctrees() -> str:
  """The navigation as hidden tables of contents, for the end of the first page."""
  blocks = []
  for title, pages in SECTIONS:
    entries = ["Overview <self>" if page == "index" else page for page in pages]
    blocks.append(_toctree(f":caption: {title}", entries))
  return "\n".join(blocks)


def benchmarks_toctree() -> str:
  """That of the pages in benchmarks/, for the end of docs/benchmarks.md."""
  return _toctree(":glob:", ["../benchmarks/*"])


def _toctree(option: str, entries: list[str]) -> str:
  return "\n".join(("\n```{toctree}", ":hidden:", option, "", *entries, "```", ""))
