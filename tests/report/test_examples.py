"""Example images: which are picked, and their data URIs."""

import base64
import io
import itertools

import numpy as np
import PIL.Image
import pytest

from meanet_jax.report.page.examples import LARGEST_SIDE, LOSSLESS_SIDE, data_uri, pick
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, Route


def test_examples_are_of_their_kind_and_spread_over_the_split():
  rng = np.random.default_rng(1)
  labels = rng.integers(3, size=300).astype(np.int32)
  taken = Route(
    exit=rng.integers(3, size=300).astype(np.int32),
    prediction=rng.integers(3, size=300).astype(np.int32),
    ran_extension=np.zeros(300, bool),
  )
  groups = pick(taken, labels, 5)
  assert [(g.kind, g.right) for g in groups] == list(
    itertools.product(("easy", "hard", "complex"), (True, False))
  )
  assert sum(group.total for group in groups) == 300
  for group in groups:
    exit = {"easy": MAIN, "hard": EXTENSION, "complex": CLOUD}[group.kind]
    assert (taken.exit[group.shown] == exit).all()
    assert ((group.predictions == group.labels) == group.right).all()
    np.testing.assert_array_equal(labels[group.shown], group.labels)
    np.testing.assert_array_equal(taken.prediction[group.shown], group.predictions)
    assert len(set(group.shown)) == min(5, group.total) == 5
    assert group.shown[0] < 60
    assert group.shown[-1] > 240


@pytest.mark.parametrize(("shape", "mode"), [((8, 8, 1), "L"), ((300, 200, 3), "RGB")])
def test_an_image_survives_its_data_uri_and_large_ones_shrink(shape, mode):
  image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
  kind, text = data_uri(image).split(",")
  lossless = max(shape) <= LOSSLESS_SIDE
  assert kind == f"data:image/{'png' if lossless else 'jpeg'};base64"
  with PIL.Image.open(io.BytesIO(base64.b64decode(text))) as picture:
    assert picture.mode == mode
    assert max(picture.size) == min(LARGEST_SIDE, max(shape))
    if lossless:
      np.testing.assert_array_equal(np.asarray(picture), image[..., 0])
