"""The weights of the criterion `learned`, fitted on selection images."""

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Bool, Float, Int

from meanet_jax.errors import UserError
from meanet_jax.routing.learned import GAINS, GainWeights, gain_features
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import (
  EXTENSION,
  Records,
  cloud_prediction,
  edge_route,
  extension_scores,
)
from meanet_jax.routing.scores import Scores

# On fewer images regressions were worse than the largest probability on Fashion-MNIST's logits.
FEWEST_IMAGES = 2000
# The inverse strength of the L2 penalty, as in scikit-learn's LogisticRegression.
C = 0.01


def check_number(count: int) -> None:
  """Refuses to fit on so few selection images.

  Raises:
    UserError: they are fewer than `FEWEST_IMAGES`.
  """
  if count < FEWEST_IMAGES:
    raise UserError(
      f"the criterion 'learned' has {count} images to fit on; accepted: at least {FEWEST_IMAGES} "
      "that select (of a run: more validation images, or a smaller "
      "evaluation.calibration_fraction), or another criterion"
    )


def fit_gain(
  policy: Policy, records: Records, is_hard: Bool[np.ndarray, " c"], fixed: Thresholds
) -> GainWeights:
  """The weights of least 1/2 |weights|^2 + C sum of cross-entropies, in nats.

  Features are standardised on the images first, the predicted class is one-hot, and neither bias
  nor standardisation is penalised.

  Args:
    policy: what the edge answers, which runs the extension for the same images whatever is sent.
    records: of selection images, which carry no guarantee.
    is_hard: [c].
    fixed: the `hard` and `run` thresholds.

  Raises:
    UserError: too few images.
  """
  check_number(len(records.label))
  edge = edge_route(policy, fixed, records, is_hard)
  answered = cloud_prediction(policy, records, edge.ran_extension)
  gain = (answered == records.label).astype(int) - (edge.prediction == records.label)
  sides = zip(extension_scores(policy, records)[:4], records.main[:4], strict=True)
  answer = Scores(*(np.where(edge.exit == EXTENSION, *both) for both in sides))
  features = gain_features(answer, records.main, records.hard_probability, edge.ran_extension)
  return fit_regression(features, answer.prediction, gain + 1, len(is_hard))


def fit_regression(
  features: Float[np.ndarray, "n f"],
  prediction: Int[np.ndarray, " n"],
  target: Int[np.ndarray, " n"],
  num_classes: int,
) -> GainWeights:
  """See `fit_gain`.

  Args:
    features: as they are.
    prediction: a class from 0 to num_classes - 1, one-hot among the features.
    target: 0 .. 2, the places of gains.
    num_classes: C.
  """
  wide = features.astype(np.float64)
  mean, scale = wide.mean(0), wide.std(0)
  scale[scale == 0] = 1.0
  dense = (wide - mean) / scale
  rows, size, kinds = np.arange(len(dense)), dense.shape[1], len(GAINS)
  sizes = np.cumsum([kinds * size, kinds * num_classes])

  def parts(flat: Float[np.ndarray, " p"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    of_features, of_classes, bias = np.split(flat, sizes)
    return of_features.reshape(kinds, size), of_classes.reshape(kinds, num_classes), bias

  def loss(flat: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
    of_features, of_classes, bias = parts(flat)
    log_p = scipy.special.log_softmax(
      dense @ of_features.T + of_classes[:, prediction].T + bias, axis=-1
    )
    error = np.exp(log_p)
    error[rows, target] -= 1
    by_class = [np.bincount(prediction, of, num_classes) for of in error.T]
    penalised = flat[: sizes[-1]]
    value = 0.5 * penalised @ penalised - C * log_p[rows, target].sum()
    gradient = C * np.concatenate([(error.T @ dense).ravel(), np.ravel(by_class), error.sum(0)])
    gradient[: sizes[-1]] += penalised
    return float(value), gradient

  start = np.zeros(sizes[-1] + kinds)
  options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8}
  found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
  of_features, of_classes, bias = parts(found.x)
  of_features = of_features / scale
  bias = bias - of_features @ mean
  return GainWeights(
    tuple(map(tuple, of_features.tolist())),
    tuple(map(tuple, of_classes.tolist())),
    tuple(bias.tolist()),
  )
