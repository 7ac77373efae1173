"""What figures show, read from them before they are drawn."""

import numpy as np

from meanet_jax.report.figures import confusion_figure


def test_a_confusion_matrix_shows_shares_of_the_true_classes():
  confusion = np.array([[3, 1, 0], [0, 4, 4], [0, 0, 0]])
  figure = confusion_figure(confusion, ("a", "b", "c"), np.array([1]))
  (image,) = figure.axes[0].images
  expected = [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]]
  np.testing.assert_array_equal(image.get_array(), expected)
