"""Which pages the site has, in which order, and where their text comes from."""

from typing import NamedTuple


class Section(NamedTuple):
  """A heading of the navigation. pages: their files below the checkout, without `.md`."""

  title: str
  pages: tuple[str, ...]


SECTIONS = (
  Section("Getting started", ("index", "docs/own_images")),
  Section("Concepts", ("docs/evaluation", "docs/decisions")),
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
    entries = "\n".join("Overview <self>" if page == "index" else page for page in pages)
    blocks.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```\n")
  return "\n".join(blocks)
