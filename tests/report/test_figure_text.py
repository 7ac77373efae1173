"""Names in figures are text, whatever stands in them, in a font that has their characters."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text

from meanet_jax.config.schema import Config
from meanet_jax.grid.figures import grid_figure
from meanet_jax.grid.points import Point
from meanet_jax.grid.report import SYSTEMS, Outcome, average_seeds
from meanet_jax.report import figure_text
from meanet_jax.report.figure_text import LiteralFigure, label, undrawable_warning
from meanet_jax.report.figures import confusion_figure, draw_confusion

# Broken formulas, valid ones, Matplotlib's and rich's escapes, and a character that DejaVu lacks.
NAMES = ("Ba$$in", "$x_1$", r"a\$b$", r"$\frac{$", "[b]", "猫", "_hidden", "$" * 50)


def matrix(names: tuple[str, ...]) -> np.ndarray:
  return np.arange(len(names) ** 2).reshape(len(names), len(names))


def texts_of(figure: LiteralFigure) -> dict[str, Text]:
  figure.draw_without_rendering()
  return {text.get_text(): text for text in figure.findobj(Text)}  # type: ignore[attr-defined]


def test_names_of_classes_are_drawn_as_they_are(tmp_path):
  path = draw_confusion(tmp_path, matrix(NAMES), NAMES, np.array([1, 5]))  # no warning, no error
  assert path.read_bytes().startswith(b"\x89PNG")
  texts = texts_of(confusion_figure(matrix(NAMES), NAMES, np.array([1, 5])))
  for name in NAMES[:-1]:
    assert not texts[name].get_parse_math()
  assert f"{'$' * 12}\N{HORIZONTAL ELLIPSIS}{'$' * 11}" in texts


def test_a_formula_is_as_wide_as_its_characters():
  figure = LiteralFigure()
  dollars = figure.text(0, 0, "$xx$")
  letters = figure.text(0, 0.5, "xx")
  figure.draw_without_rendering()
  assert dollars.get_window_extent().width > 1.5 * letters.get_window_extent().width


def test_values_of_a_grid_are_drawn_as_they_are(tiny):
  values = ("runs/$a$b$$", "/data/猫.npz")

  def outcome(number: int, *settings: object) -> Outcome:
    systems = {system: {"accuracy": 0.5 + 0.1 * number} for system in SYSTEMS}
    fields = ("model.main.pretrained", "dataset.name", "model.join")
    named = dict(zip(fields, settings))
    return Outcome(Point(number, named, tiny), 0, {"stages": {}, "systems": systems}, None)

  for count in (1, 2, 3):
    outcomes = [outcome(n, *([value] * count)) for n, value in enumerate(values)]
    texts = texts_of(grid_figure(average_seeds(outcomes, "meanet"), "meanet"))
    for value in values:
      assert not texts[value].get_parse_math()


def test_labels_are_one_line():
  assert label("a\tb\nc\x1b[1m") == "a b c\N{REPLACEMENT CHARACTER}[1m"
  assert label("\ud800") == "\N{REPLACEMENT CHARACTER}"
  assert label("x" * 40) == "x" * 40
  assert label("ab" * 50, 10) == "ababa\N{HORIZONTAL ELLIPSIS}abab"
  assert label(0.5) == "0.5"


def make_font(path: Path, family: str, characters: str) -> None:
  """A font of squares."""
  pen = TTGlyphPen(None)
  for place in ((0, 0), (0, 500), (500, 500), (500, 0)):
    (pen.lineTo if place != (0, 0) else pen.moveTo)(place)
  pen.closePath()
  glyphs = [".notdef", *(f"g{ord(c)}" for c in characters)]
  builder = FontBuilder(1000, isTTF=True)
  builder.setupGlyphOrder(glyphs)
  builder.setupCharacterMap({ord(c): f"g{ord(c)}" for c in characters})
  builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
  builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 0)))
  builder.setupHorizontalHeader(ascent=800, descent=-200)
  builder.setupNameTable({"familyName": family, "styleName": "Regular"})
  builder.setupOS2()
  builder.setupPost()
  builder.save(path)


@pytest.fixture
def installed(monkeypatch) -> Iterator[list[str]]:
  """The paths of the fonts that are installed: none yet."""
  paths: list[str] = []
  monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
  monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
  figure_text._fallbacks.cache_clear()
  yield paths
  figure_text._fallbacks.cache_clear()


def test_a_font_that_has_the_characters_is_used(installed, tmp_path, caplog):
  (tmp_path / "broken.ttf").write_bytes(b"no font")
  for name, characters in (("Cats", "猫"), ("Animals", "猫犬")):
    make_font(tmp_path / f"{name}.ttf", name, characters)
  installed += [str(tmp_path / name) for name in ("broken.ttf", "Cats.ttf", "Animals.ttf")]
  names = ("猫", "犬", "cat")
  assert undrawable_warning(names) is None
  texts = texts_of(confusion_figure(matrix(names), names, np.array([1])))
  assert texts["犬"].get_fontfamily() == ["DejaVu Sans", "Animals"]
  assert texts["cat"].get_fontfamily() == ["DejaVu Sans"]
  assert not caplog.records  # of a weight that is not there
  # Three of that font's squares, each as far from the next as six tenths of the size.
  figure = LiteralFigure(dpi=72)
  text = figure.text(0, 0, "犬犬犬", fontsize=100)
  figure.draw_without_rendering()
  assert text.get_window_extent().width == pytest.approx(170, abs=15)


def test_without_one_it_is_said_once_which_characters_are_missing(installed, tmp_path, recwarn):
  draw_confusion(tmp_path, matrix(("猫", "a")), ("猫", "a"), np.array([0]))
  assert not recwarn.list
  assert undrawable_warning(["naïve", "plain", Config().dataset.name]) is None
  assert undrawable_warning(["猫a", "猫", "犬"]) == (
    "no font on this machine has 犬 (U+72AC) 猫 (U+732B); figures show boxes instead. A "
    "font that has them, such as Noto Sans CJK for Chinese, Japanese and Korean, is used once it "
    "is installed"
  )
  many = "".join(map(chr, range(0x4E00, 0x4E00 + 15)))
  assert " and 5 more; figures" in str(undrawable_warning([many]))
