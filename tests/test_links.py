"""Relative links and anchors in the documents lead to something; lines are of one width."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = (
  *("README.md", "CONTRIBUTING.md", "deploy/README.md"),
  *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md"))),
  *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("benchmarks/*.md"))),
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")


def prose(path: Path) -> str:
  """A page without its fenced and indented blocks of code."""
  lines = FENCED.sub("", path.read_text()).split("\n")
  return "\n".join(line for line in lines if not line.startswith("    "))


def links(path: Path) -> Iterator[str]:
  """The targets of a page's links, those of other sites left out."""
  for target in LINK.findall(CODE.sub("`code`", prose(path))):
    if not re.match(r"[a-z]+:", target):
      yield target


def anchors(path: Path) -> set[str]:
  """The anchors of a page's headings, as GitHub makes them."""
  found: dict[str, int] = {}
  for heading in re.findall(r"^#{1,6} +(.*?)[ #]*$", prose(path), re.MULTILINE):
    text = LINK.sub(lambda link: link[0][1:].partition("]")[0], heading).lower()
    slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
    count = found.get(slug, -1) + 1
    found[slug] = count
    if count:
      found[f"{slug}-{count}"] = 0
  return set(found)


def broken(page: Path) -> list[str]:
  """The relative links of a page that lead nowhere."""
  missing = []
  for target in links(page):
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    if not path.exists() or (anchor and anchor not in anchors(path)):
      missing.append(target)
  return missing


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
  assert broken(ROOT / page) == []


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_lines_of_prose_have_at_most_100_characters(page):
  if not page.startswith("benchmarks/"):  # these are written by programs
    lines = prose(ROOT / page).split("\n")
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


def test_a_missing_page_and_a_missing_anchor_are_found(tmp_path):
  (tmp_path / "other.md").write_text("# One *thing*\n\n## `two`, or more\n\n## One thing\n")
  page = tmp_path / "page.md"
  page.write_text(
    "# Top\n\n[a](other.md#one-thing) [b](other.md#two-or-more) [c](#top)\n"
    "[d](other.md#one-thing-1) [e](https://example.org/x) `[f](no.md)`\n\n"
    "    [g](no.md)\n\n```\n[h](no.md)\n```\n\n"
    "[i](no.md) [j](other.md#three) [k](#nowhere)\n"
  )
  assert broken(page) == ["no.md", "other.md#three", "#nowhere"]


def test_modules_named_in_the_code_and_on_its_page_exist():
  named = re.compile(r"`([a-z_/]+/[a-z_]+\.py)`")
  sources = [*ROOT.glob("meanet_jax/**/*.py"), ROOT / "docs/architecture.md"]
  missing = [
    f"{path.relative_to(ROOT)}: {name}"
    for path in sources
    for name in named.findall(path.read_text())
    if not any((place / name).exists() for place in (ROOT, ROOT / "meanet_jax", path.parent))
  ]
  assert not missing
