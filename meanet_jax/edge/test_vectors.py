"""edge_test.json: images with every step of their decisions, by which a port is checked.

A port is the edge in another language. `EdgeClassifier` writes the steps, so that a port has to
reproduce what was evaluated. NumPy and no JAX.
"""

import base64
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meanet_jax.annotations import Int, UInt8
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.combination import (
  cloud_prediction,
  fuses_cloud,
  log_probabilities,
  with_cloud,
)
from meanet_jax.edge.decisions import Answer, EdgeDecision
from meanet_jax.edge.manifest import EDGE
from meanet_jax.errors import UserError, VerificationError
from meanet_jax.routing.rules import CLOUD, EXIT_NAMES, offloads_early
from meanet_jax.routing.scores import Scores, scores, softmax, uncertainty

FORMAT = 1
TEST_VECTORS = "edge_test.json"
PER_ROUTE = 2  # images of each route that there is
# Largest accepted difference of a number, as a share of it where it is above 1. Kernels for other
# processors round differently, those of quantised networks by a step of 8 bits.
TOLERANCE, QUANTIZED_TOLERANCE = 1e-3, 2e-2
_ACCEPTED = "accepted: the file that meanet export wrote"


def make_test_vectors(
  classifier: EdgeClassifier,
  images: UInt8[np.ndarray, "n h w c"],
  numbers: Int[np.ndarray, " n"],
  labels: Int[np.ndarray, " n"] | None,
) -> dict[str, Any]:
  """What edge_test.json holds: up to `PER_ROUTE` images of every route that the images take.

  Only images of which every comparison is farther from its threshold than twice the tolerance, for
  near it a port that rounds differently may decide differently; a route without one is left out. If
  there is none at all, the image that is farthest.

  Args:
    classifier: of the export, at its operating point.
    images: to select from.
    numbers: the images' numbers in their split, for `index`.
    labels: the images' classes; None where they have none.
  """
  manifest = classifier.manifest
  tolerance = TOLERANCE if manifest.quantize in ("none", "float16") else QUANTIZED_TOLERANCE
  by_route: dict[Any, list[int]] = {}
  clearest = (-math.inf, 0)
  for place in range(len(images)):
    (decision,) = classifier.decide(images[place : place + 1])
    answer = decision.answer
    clearance = _clearance(classifier, decision, _cloud_logits(classifier, place))
    clearest = max(clearest, (clearance, -place))
    if clearance > 2 * tolerance:
      route = (answer.exit, answer.complex, answer.extension is None, decision.skipped)
      by_route.setdefault(route, []).append(place)
  places = sorted(place for found in by_route.values() for place in found[:PER_ROUTE])
  places = places or [-clearest[1]]
  return {
    "format": FORMAT,
    "files": {EDGE: manifest.files[EDGE].sha256},
    "operating_point": classifier.operating_point.to_json(),
    "tolerance": tolerance,
    "vectors": [
      {
        "index": int(numbers[place]),
        "label": None if labels is None else int(labels[place]),
        "image": base64.b64encode(images[place].tobytes()).decode(),
        "cloud_logits": _cloud_logits(classifier, place),
      }
      | _steps(classifier, images[place], _cloud_logits(classifier, place))
      for place in places
    ],
  }


def read_test_vectors(directory: str | Path) -> dict[str, Any]:
  """The contents of a directory's edge_test.json.

  Raises:
    UserError: it is missing, no JSON, or of another format.
  """
  path = Path(directory) / TEST_VECTORS
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"{path} cannot be read: {error}; {_ACCEPTED}") from error
  number = found.get("format") if isinstance(found, dict) else found
  if number != FORMAT:
    raise UserError(f"{path} has format {number!r}; accepted: {FORMAT}")
  return found


def check_test_vectors(directory: str | Path, num_threads: int = 1) -> dict[str, int]:
  """Compares the edge on this machine with edge_test.json, step by step.

  Args:
    directory: what `meanet export` wrote.
    num_threads: of the interpreter.

  Returns:
    How many images end at each exit, with a cloud.

  Raises:
    UserError: a file that is missing or damaged, or of another edge.tflite or operating point.
    VerificationError: a step that comes out differently, named.
  """
  classifier = EdgeClassifier(directory, num_threads=num_threads)
  expected = read_test_vectors(directory)
  path, manifest = Path(directory) / TEST_VECTORS, classifier.manifest
  try:
    made_for = expected["files"][EDGE], expected["operating_point"]
    tolerance, vectors = float(expected["tolerance"]), list(expected["vectors"])
    if made_for != (manifest.files[EDGE].sha256, classifier.operating_point.to_json()):
      raise UserError(
        f"{path} is of another {EDGE} or operating point than edge.json; export it again"
      )
    ends: Counter[str] = Counter()
    for vector in vectors:
      pixels = np.frombuffer(base64.b64decode(vector["image"]), np.uint8)
      image = pixels.reshape(manifest.image_shape)
      found = _steps(classifier, image, vector["cloud_logits"])
      for difference in _differences(found, {key: vector[key] for key in found}, tolerance):
        raise VerificationError(f"{path}, image {vector['index']}: {difference}")
      ends[vector["with_cloud"]["exit"]] += 1
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    what = f"no field {error}" if isinstance(error, KeyError) else str(error)
    raise UserError(f"{path} is damaged: {what}; {_ACCEPTED}") from error
  return {exit: ends[exit] for exit in EXIT_NAMES}


def describe_ends(ends: Mapping[str, int]) -> str:
  """A line about what `check_test_vectors` gave."""
  parts = ", ".join(f"{count} at {exit}" for exit, count in ends.items())
  return f"{sum(ends.values())} images agree in every step; of these end {parts}"


def _steps(
  classifier: EdgeClassifier, image: UInt8[np.ndarray, "h w c"], cloud_logits: list[float]
) -> dict[str, Any]:
  """Every step of an image's decision, in their order."""
  (decision,) = classifier.decide(image[None])
  point, answer = classifier.operating_point, decision.answer
  policy, known = point.policy, point.hard_classes.known
  alone = classifier.answer_alone(decision)
  main, extension = decision.logits
  fuses = policy.edge_rule == "fused"
  extended = None
  if extension is not None:
    own = extension / np.float32(point.temperatures.extension)
    extended = _exit(extension, softmax(own), scores(own, known) if fuses else answer.extension)
  gate = policy.hard_rule in ("argmax_uncertain", "uncertain")
  logits = np.asarray(cloud_logits, np.float32)
  answered = logits if fuses_cloud(point) else int(np.argmax(logits))
  sent = cloud_prediction(point, decision, answered)
  return {
    "pixel_sum": int(image.sum()),
    "main": _exit(main, softmax(main / np.float32(point.temperatures.main)), answer.main)
    | {
      "hard_probability": float(answer.hard_probability),
      "run_uncertainty": float(uncertainty(policy.run_criterion, answer.main)) if gate else None,
    },
    "features": {
      "shape": list(decision.features.shape),
      "mean_absolute": float(np.abs(decision.features).mean(dtype=np.float64)),
    },
    "predicted_hard": answer.extension is not None or decision.skipped,
    "sent_early": bool(offloads_early(policy, point.thresholds, answer.main)),
    "ran_extension": answer.extension is not None,
    "extension": extended,
    "fused": _fused(classifier, decision) if fuses and extended else None,
    "compared": _compared(answer),
    "sent": answer.complex,
    "without_cloud": {"exit": EXIT_NAMES[alone.exit], "prediction": alone.prediction},
    "with_cloud": {"exit": EXIT_NAMES[CLOUD], "prediction": sent}
    if answer.complex
    else {"exit": EXIT_NAMES[answer.exit], "prediction": answer.prediction},
  }


def _exit(logits: np.ndarray, probabilities: np.ndarray, found: Scores | None) -> dict[str, Any]:
  assert found is not None
  return {"logits": logits.tolist(), "probabilities": probabilities.tolist()} | _numbers(found)


def _numbers(found: Scores) -> dict[str, Any]:
  return {
    "prediction": int(found.prediction),
    "max_prob": float(found.max_prob),
    "entropy": float(found.entropy),
    "margin": float(found.margin),
  }


def _fused(classifier: EdgeClassifier, decision: EdgeDecision) -> dict[str, Any]:
  found = decision.answer.extension
  assert found is not None
  probabilities = np.exp(log_probabilities(classifier.operating_point, decision))
  return {"probabilities": probabilities.tolist()} | _numbers(found)


def _compared(answer: Answer) -> dict[str, Any] | None:
  if answer.compared is None:
    return None
  exit, found, threshold = answer.compared
  return {"exit": EXIT_NAMES[exit], "uncertainty": float(found), "threshold": float(threshold)}


def _cloud_logits(classifier: EdgeClassifier, number: int) -> list[float]:
  """A made-up answer of the cloud, which the edge itself would rarely give."""
  logits = np.zeros(classifier.operating_point.hard_classes.num_classes)
  logits[number % len(logits)] = 4.0
  return logits.tolist()


def _clearance(
  classifier: EdgeClassifier, decision: EdgeDecision, cloud_logits: list[float]
) -> float:
  """The least distance of what the policy compares for an image; of answers, in probability."""
  point, answer = classifier.operating_point, decision.answer
  policy, main = point.policy, answer.main
  # Where it was skipped, it answers without a cloud.
  extension = classifier.answer_alone(decision).extension
  distances = [main.margin] + ([extension.margin] if extension is not None else [])
  if answer.compared is not None:
    distances.append(abs(answer.compared.uncertainty - answer.compared.threshold))
  if policy.hard_rule in ("argmax_uncertain", "uncertain"):
    distances.append(abs(uncertainty(policy.run_criterion, main) - point.thresholds.run))
  if policy.hard_rule == "probability":
    distances.append(abs(answer.hard_probability - point.thresholds.hard))
  if policy.edge_rule == "most_confident" and extension is not None:
    distances.append(abs(main.max_prob - extension.max_prob))
  if policy.edge_rule == "fused" and (own := decision.logits[1]) is not None:
    cooled = own / np.float32(point.temperatures.extension)
    distances.append(scores(cooled, point.hard_classes.known).margin)
  if answer.complex and fuses_cloud(point):
    edge = log_probabilities(point, decision)
    fused = with_cloud(point, edge[None], np.asarray(cloud_logits, np.float32)[None])[0]
    second, first = np.sort(np.exp(fused))[-2:]
    distances.append(first - second)
  return float(min(distances))


def _differences(found: Any, expected: Any, tolerance: float, name: str = "") -> Iterator[str]:
  """Where two JSON values differ, numbers by more than the tolerance."""
  if isinstance(found, Mapping) and isinstance(expected, Mapping):
    for key in found:
      yield from _differences(found[key], expected[key], tolerance, f"{name}.{key}".lstrip("."))
  elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
      yield from _differences(one, other, tolerance, f"{name}[{place}]")
  elif isinstance(found, float) and isinstance(expected, float | int):
    limit = tolerance * max(1.0, abs(expected))
    if not math.isclose(found, expected, rel_tol=0, abs_tol=limit):
      yield f"{name} is {found:.6g}; expected {expected:.6g} within {limit:.2g}"
  elif found != expected:
    yield f"{name} is {found!r}; expected {expected!r}"
