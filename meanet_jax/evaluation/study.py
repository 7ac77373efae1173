"""The paper's study of a trained MEANet: exits, detection of hard classes, errors, entropies."""

import dataclasses
from typing import Any

import numpy as np
import scipy.optimize
import scipy.stats
from jaxtyping import Bool, Float, Int

from meanet_jax.evaluation.records import cooled
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.rules import (
  CLOUD,
  EXIT_NAMES,
  EXTENSION,
  MAIN,
  Records,
  compared_uncertainty,
  edge_route,
  extension_scores,
  predicted_hard,
  route,
)
from meanet_jax.routing.scores import scores
from meanet_jax.selection.temperature import (
  expected_calibration_error,
  failure_auroc,
  fit_temperature,
)

CRITERIA = ("entropy", "max_prob", "margin")


def fit_temperatures(
  outputs: Outputs, labels: Int[np.ndarray, " n"], hard_classes: HardClasses
) -> Temperatures:
  """Each exit's temperature from validation logits; the extension's on images of its classes.

  An exit with no image to fit on keeps temperature 1.
  """
  own = hard_classes.known_map[labels]
  known = own >= 0
  return Temperatures(
    main=fit_temperature(outputs.main, labels),
    extension=fit_temperature(outputs.extension[known], own[known]) if known.any() else 1.0,
    cloud=fit_temperature(outputs.cloud, labels),
  )


def calibration(
  outputs: Outputs,
  labels: Int[np.ndarray, " n"],
  hard_classes: HardClasses,
  temperatures: Temperatures,
) -> dict[str, Any]:
  """Per exit: its temperature, and its expected calibration error without and with it.

  The extension is judged on images of its classes, which are all that it knows.
  """
  known = hard_classes.known_map[labels] >= 0
  result = {}
  for name, logits, temperature in zip(EXIT_NAMES, outputs, temperatures, strict=True):
    of = known if name == "extension" else np.ones_like(known)
    classes = hard_classes.known if name == "extension" else None
    errors = []
    for divisor in (1.0, temperature):
      answer = scores(cooled(logits[of], divisor), classes)
      right = answer.prediction == labels[of]
      # Without an image there is no error, not one of 0.
      errors.append(expected_calibration_error(answer.max_prob, right) if of.any() else None)
    result[name] = {
      "temperature": temperature,
      "num_examples": int(of.sum()),
      "expected_calibration_error": errors[0],
      "expected_calibration_error_with_temperature": errors[1],
    }
  return result


def failure_prediction(point: OperatingPoint, records: Records) -> dict[str, float | None]:
  """Per criterion: how well the uncertainty that a policy compares foretells a wrong edge answer.

  The area under the ROC curve; None when the edge is never (or always) wrong.

  Args:
    point: of a policy that compares an uncertainty.
    records: of a split, with the point's temperatures and weights.
  """
  policy = point.policy
  # A gate stays where it is: its threshold is in the unit of the policy's own criterion.
  stays = edge_route(policy, point.thresholds, records, point.hard_classes.mask)
  extension, at_extension = extension_scores(policy, records), stays.exit == EXTENSION
  result = {}
  for criterion in CRITERIA:
    judging = dataclasses.replace(policy, criterion=criterion)
    unsure = compared_uncertainty(judging, records.main, extension, at_extension)
    assert unsure is not None
    result[criterion] = failure_auroc(unsure, stays.prediction != records.label)
  return result


def study(point: OperatingPoint, validation: Records, test: Records) -> dict[str, Any]:
  """Figures on the test split, and the threshold of the closed-form fit on validation.

  accuracy: of each exit alone; the extension's on images of hard classes.
  exits: of the images that end there: how many, and the share of right answers (None at an exit
    where no image ends).
  detection: of "the policy judges the image hard" as a test for "its class is hard"; precision is
    that of the answer "hard", easy_precision that of "easy".
  main_errors: main's wrong answers by kind, as shares of all images.
  entropy: of main's right and wrong answers, means and quartiles, in nats.

  Args:
    point: MEANet's.
    validation, test: records of the splits, with the point's temperatures and weights.
  """
  policy, thresholds, is_hard = point.policy, point.thresholds, point.hard_classes.mask
  taken = route(policy, thresholds, test, is_hard)
  truly_hard, taken_hard = is_hard[test.label], is_hard[test.main.prediction]
  wrong = test.main.prediction != test.label
  judged = predicted_hard(policy, thresholds, test.main, test.hard_probability, is_hard)
  right = taken.prediction == test.label
  kinds = {
    "easy_taken_for_hard": ~truly_hard & taken_hard,
    "hard_taken_for_easy": truly_hard & ~taken_hard,
    "easy_taken_for_another_easy": ~truly_hard & ~taken_hard & wrong,
    "hard_taken_for_another_hard": truly_hard & taken_hard & wrong,
  }
  return {
    "accuracy": {
      "main": _share(~wrong),
      "extension_on_hard": _share((test.extension.prediction == test.label)[truly_hard]),
      "cloud": _share(test.cloud.prediction == test.label),
    },
    "exits": {
      name: {"num_examples": int(of.sum()), "accuracy": _share(right[of])}
      for name, of in zip(EXIT_NAMES, (taken.exit == exit for exit in (MAIN, EXTENSION, CLOUD)))
    },
    "detection": {
      "accuracy": _share(truly_hard == judged),
      "precision": _share(truly_hard[judged]),
      "easy_precision": _share(~truly_hard[~judged]),
      "recall": _share(judged[truly_hard]),
    },
    "main_errors": {name: _share(mask) for name, mask in kinds.items()},
    "entropy": {
      "right": _distribution(test.main.entropy[~wrong]),
      "wrong": _distribution(test.main.entropy[wrong]),
    },
    "failure_auroc": failure_prediction(point, test),
    "closed_form_threshold": closed_form_threshold(
      validation.main.entropy, validation.main.prediction == validation.label
    ),
  }


def closed_form_threshold(
  entropy: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]
) -> dict[str, float] | None:
  """The authors' threshold: the largest 0.6 (1 - exp(-t / mu_c)) - 0.4 Phi((t - mu_w) / sigma_w).

  Right answers' entropies are taken as exponential with mean mu_c, wrong ones' as normal with mean
  mu_w and standard deviation sigma_w (the authors' code). None when either kind is missing or the
  wrong ones do not vary.
  """
  if not right.any() or right.all():
    return None
  mu_right = float(np.mean(entropy[right], dtype=np.float64))
  mu_wrong = float(np.mean(entropy[~right], dtype=np.float64))
  sigma_wrong = float(np.std(entropy[~right], dtype=np.float64))
  if sigma_wrong == 0 or mu_right == 0:
    return None

  def gain(t: Any) -> Any:
    kept = 0.6 * (1 - np.exp(-t / mu_right))
    return kept - 0.4 * scipy.stats.norm.cdf((t - mu_wrong) / sigma_wrong)

  # One maximum or two: the best point of a grid brackets the largest.
  grid = np.linspace(0, max(float(entropy.max()), mu_wrong + 4 * sigma_wrong), 1001)
  best = int(np.argmax(gain(grid)))
  bracket = (grid[max(best - 1, 0)], grid[min(best + 1, 1000)])
  found = scipy.optimize.minimize_scalar(lambda t: -gain(t), bounds=bracket, method="bounded")
  return {
    "threshold": float(found.x),
    "mu_right": mu_right,
    "mu_wrong": mu_wrong,
    "sigma_wrong": sigma_wrong,
  }


def _share(mask: Bool[np.ndarray, " n"]) -> float | None:
  return float(mask.mean()) if len(mask) else None


def _distribution(values: Float[np.ndarray, " n"]) -> dict[str, float] | None:
  if not len(values):
    return None
  low, median, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
  return {"mean": float(values.mean()), "quartile_1": low, "median": median, "quartile_3": high}
