"""WCAG 2's contrast of colours."""

import re

import numpy as np


def contrast(first: str, second: str) -> float:
  """The ratio of two CSS colours, each `rgb(r, g, b)` or `#rrggbb`."""
  dark, light = sorted((luminance(first), luminance(second)))
  return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
  if colour.startswith("#"):
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], float)
  else:
    values = np.array([float(v) for v in re.findall(r"[\d.]+", colour)])
  assert len(values) == 3, f"{colour} is not opaque"
  s = values / 255
  linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
  return float(linear @ [0.2126, 0.7152, 0.0722])
