"""Texts of figures are literal, not mathtext, and in a font that has their characters if one does.

Names of classes and values of fields are anything that a user likes: `Ba$$in`, `猫`, a long path.
"""

import contextlib
import functools
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FAMILY = "DejaVu Sans"  # comes with Matplotlib
LONGEST_LABEL = 40
_NAMED = 10  # characters that a warning names


class LiteralFigure(Figure):
  """A figure whose texts are drawn as they are: no `$` begins a formula."""

  def draw(self, renderer: Any) -> None:
    """Called by whatever saves or measures the figure."""
    with self._literal_texts():
      super().draw(renderer)

  def lay_out(self, dpi: int) -> None:
    """Places everything for good, at so many dots per inch.

    A figure that has a layout engine is drawn twice by each saving, the first time for its places.
    """
    self.set_dpi(dpi)
    engine = self.get_layout_engine()
    if engine is not None:
      with self._literal_texts():
        engine.execute(self)
    # None leaves the engine to the settings, and "none" one that does nothing.
    with rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
      self.set_layout_engine(None)

  @contextlib.contextmanager
  def _literal_texts(self) -> Iterator[None]:
    texts = self.findobj(Text)
    others = _fallbacks(_foreign(text.get_text() for text in texts)).families
    for text in texts:
      text.set_parse_math(False)
      text.set_fontfamily([FAMILY])
      if others and _foreign([text.get_text()]):
        text.set_fontfamily([FAMILY, *others])
        text.set_fontweight("normal")  # few such fonts are bold too, and Matplotlib would warn
    with warnings.catch_warnings():
      # Said once, by `undrawable_warning`, and not for every figure.
      warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
      yield


def label(value: Any, longest: int = LONGEST_LABEL) -> str:
  """A name or value as one line of at most so many characters: its middle is left out."""
  text = "".join(
    c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"
    for c in str(value)
  )
  if len(text) <= longest:
    return text
  half = (longest - 1) // 2
  return f"{text[: longest - 1 - half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def undrawable_warning(values: Iterable[Any]) -> str | None:
  """A line about characters of labels that no font on this machine has; None if there are none."""
  missing = sorted(_fallbacks(_foreign(map(label, values))).missing)
  if not missing:
    return None
  named = " ".join(f"{c} (U+{ord(c):04X})" for c in missing[:_NAMED])
  more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
  return (
    f"no font on this machine has {named}{more}; figures show boxes instead. A font that "
    "has them, such as Noto Sans CJK for Chinese, Japanese and Korean, is used once it is installed"
  )


def _foreign(texts: Iterable[str]) -> frozenset[str]:
  """The characters that `FAMILY` lacks."""
  return frozenset(c for text in texts for c in text if not c.isspace()) - _own_characters()


@functools.cache
def _own_characters() -> frozenset[str]:
  """What `FAMILY` draws in both weights that figures use."""
  drawn = [
    FT2Font(font_manager.findfont(font_manager.FontProperties(family=FAMILY, weight=weight)))
    for weight in ("normal", "bold")
  ]
  return frozenset.intersection(*(frozenset(map(chr, font.get_charmap())) for font in drawn))


class _Fallbacks(NamedTuple):
  """families: of installed fonts. missing: characters that none of them has."""

  families: tuple[str, ...]
  missing: frozenset[str]


@functools.cache
def _fallbacks(missing: frozenset[str]) -> _Fallbacks:
  """Installed fonts for characters that `FAMILY` lacks, as few as have most of them."""
  if not missing:
    return _Fallbacks((), missing)
  found = {
    path: missing & _readable(path, missing) for path in sorted(font_manager.findSystemFonts())
  }
  families = []
  while any(found.values()):
    best = max(found, key=lambda path: len(found[path]))
    known = {font.fname for font in font_manager.fontManager.ttflist}
    if best not in known:  # installed since Matplotlib last looked
      font_manager.fontManager.addfont(best)
    families.append(FT2Font(best).family_name)
    covered = found[best]
    missing -= covered
    found = {path: rest - covered for path, rest in found.items()}
  return _Fallbacks(tuple(families), missing)


def _readable(path: str, wanted: frozenset[str]) -> frozenset[str]:
  """Those of some characters that a font's file can draw; none of a font of coloured bitmaps."""
  try:
    font = FT2Font(path)
    characters = wanted & frozenset(map(chr, font.get_charmap()))
    font.set_size(10, 72)
    font.set_text("".join(sorted(characters)))
  except (OSError, RuntimeError, ValueError):
    return frozenset()
  return characters
