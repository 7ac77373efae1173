"""The criterion `learned`: by how much the cloud is expected to be more often right than the edge.

Post-hoc deferral (Jitkrittum et al. 2023, arXiv 2307.02764): a multinomial logistic regression of
the gain of sending an image, which is -1, 0 or +1 (cloud right minus edge right), on what the edge
knows about it. Its score P(+1) - P(-1) is in accuracy per image sent, so that an offload penalty is
its threshold. The functions are generic in the array namespace, over one image as over many.
"""

from typing import Any, NamedTuple

import numpy as np

from meanet_jax.annotations import Bool, Float, Int
from meanet_jax.routing.scores import Scores

GAINS = (-1, 0, 1)
FEATURES = ("log_max_prob", "log_rest", "margin", "entropy", "hard_probability", "ran", "agrees")
# Of 1 - max_prob: a float32 probability near 1 has few digits of it left below this.
LEAST_REST = 1e-4

Array = Any  # a NumPy or JAX array
Row = tuple[float, ...]


class GainWeights(NamedTuple):
  """Of a multinomial logistic regression; each has a row for every gain of `GAINS`.

  features: over `FEATURES`, nested as [3][7]. classes: by the class that the edge predicts,
  [3][C]. bias: [3].
  """

  features: tuple[Row, ...]
  classes: tuple[Row, ...]
  bias: Row


def gain_features(
  answer: Scores,
  main: Scores,
  hard_probability: Float[Array, " n"],
  ran_extension: Bool[Array, " n"],
) -> Float[Array, "n 7"]:
  """What the edge knows about n images, float32, in the order of `FEATURES`.

  Args:
    answer: of the exit that answers.
    main: of the main exit.
    hard_probability: main's mass on hard classes.
    ran_extension: where the extension ran, whose answer is the edge's then.
  """
  xp = answer.max_prob.__array_namespace__()
  columns = (
    xp.log(answer.max_prob),
    xp.log(xp.maximum(1 - answer.max_prob, xp.float32(LEAST_REST))),
    answer.margin,
    answer.entropy,
    hard_probability,
    ran_extension,
    answer.prediction == main.prediction,
  )
  return xp.stack([xp.asarray(column, xp.float32) for column in columns], axis=-1)


def expected_gain(
  weights: GainWeights, features: Float[Array, "n f"], prediction: Int[Array, " n"]
) -> Float[Array, " n"]:
  """P(+1) - P(-1), float32, from -1 to 1.

  Args:
    weights: of the regression.
    features: as `gain_features` has them.
    prediction: int [n], the edge's answers.
  """
  xp = features.__array_namespace__()
  dense, classes, bias = (xp.asarray(values, xp.float32) for values in weights)
  # A sum over the last axis, which is the same number for one image as among many.
  of_features = (features[:, None, :] * dense[None]).sum(-1)
  logits = of_features + xp.take(classes.T, prediction, axis=0) + bias[None]
  exp = xp.exp(logits - logits.max(-1, keepdims=True))
  return (exp[:, 2] - exp[:, 0]) / exp.sum(-1)


def with_gain(
  weights: GainWeights,
  answer: Scores,
  main: Scores,
  hard_probability: Any,
  ran_extension: bool,
) -> Scores:
  """The scores of an exit together with what `learned` compares where that exit answers.

  Args:
    weights: of the regression.
    answer, main, hard_probability: of n images, or of one as scalars.
    ran_extension: whether they are the answers of an extension that ran.
  """
  one = np.ndim(answer.prediction) == 0
  xp = np if one else answer.prediction.__array_namespace__()
  answer_n, main_n = (
    Scores(*(xp.reshape(values, (-1,)) for values in of[:4])) for of in (answer, main)
  )
  mass = xp.reshape(hard_probability, (-1,))
  features = gain_features(answer_n, main_n, mass, xp.full(mass.shape, ran_extension))
  gain = expected_gain(weights, features, answer_n.prediction)
  return answer._replace(gain=gain[0] if one else gain)
