"""policy.tflite: an operating point's rules as functions of logits, for other languages to call.

The rules are the functions of `routing/` that evaluation and `EdgeClassifier` use, so that a
program in another language has none of its own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from meanet_jax.annotations import Float
from meanet_jax.edge.combination import edge_log_probabilities, fuses_cloud, with_cloud
from meanet_jax.models.meanet import Outputs as Logits
from meanet_jax.routing.learned import with_gain
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy
from meanet_jax.routing.rules import (
  CLOUD,
  EXTENSION,
  EdgeAnswer,
  Route,
  compared_uncertainty,
  edge_answer,
  predicted_hard,
)
from meanet_jax.routing.scores import Scores, hard_probability, scores
from meanet_jax.tflite.signatures import Outputs, Signature

# Logits of one image, over all classes and over the extension's.
Row = Float[jax.Array, "1 c"]
Own = Float[jax.Array, "1 k"]


def policy_signatures(point: OperatingPoint) -> list[Signature]:
  """The rules after each step, of one image; logits are [1, C], the extension's [1, K], float32.

  `after_main` takes the logits `main`; `after_extension` also `extension`, where that ran. Both
  give, each [1], the edge's own `prediction` and its `exit` (0 main, 1 extension), `send` (1 for an
  image that the policy sends to the cloud) and `uncertainty` (what was compared for that; 0 of a
  policy that compares nothing). `after_main` gives `run_extension` besides: 1 where the edge's own
  answer needs the extension, which may be skipped for an image with `send` 1.

  `after_cloud` takes `main` and `cloud`, `after_extension_and_cloud` all three, and gives the
  `prediction` of an image whose answer from the cloud has come.
  """
  classes, known = point.hard_classes.num_classes, len(point.hard_classes.known)
  widths = {"main": classes, "extension": known, "cloud": classes}
  takes = {
    "after_main": (_after_main, ("main",)),
    "after_extension": (_after_extension, ("main", "extension")),
    "after_cloud": (_after_cloud, ("main", "cloud")),
    "after_extension_and_cloud": (_after_extension_and_cloud, ("main", "extension", "cloud")),
  }
  return [
    Signature(
      name,
      functools.partial(function, point),
      {exit: jax.ShapeDtypeStruct((1, widths[exit]), np.float32) for exit in exits},
    )
    for name, (function, exits) in takes.items()
  ]


def run_policy(model: bytes, logits: Logits) -> Route:
  """What a program in another language makes of n images by the signatures of policy.tflite.

  Args:
    model: policy.tflite.
    logits: NumPy arrays, of each exit whether or not it would have run.
  """
  interpreter = Interpreter(model_content=model, num_threads=1)
  rules = {
    name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()
  }
  exits, predictions, ran = [], [], []
  for main, extension, cloud in zip(*(values[:, None] for values in logits), strict=True):
    given = {"main": main}
    decision = rules["after_main"](**given)
    ran.append(bool(decision["run_extension"] and not decision["send"]))
    if ran[-1]:
      given["extension"] = extension
      decision = rules["after_extension"](**given)
    exits.append(CLOUD if decision["send"] else int(decision["exit"][0]))
    if decision["send"]:
      name = "after_extension_and_cloud" if ran[-1] else "after_cloud"
      decision = rules[name](**given, cloud=cloud)
    predictions.append(int(decision["prediction"][0]))
  return Route(np.array(exits, np.int32), np.array(predictions, np.int32), np.array(ran))


def _after_main(point: OperatingPoint, main: Row) -> Outputs:
  policy, limits = point.policy, point.thresholds
  found, mass = _main(point, main)
  hard = predicted_hard(policy, limits, found, mass, jnp.asarray(point.hard_classes.mask))
  answer = edge_answer(policy, limits, found, found, jnp.zeros_like(hard))
  # What the rule `late` says of an image is not known before its extension has run.
  known = ~hard if policy.offload == "late" else jnp.ones_like(hard)
  answer = answer._replace(complex=answer.complex & known)
  decision = _decision(policy, answer, found, found)
  return _outputs(decision | {"run_extension": hard.astype(jnp.int32)}, found)


def _after_extension(point: OperatingPoint, main: Row, extension: Own) -> Outputs:
  found, mass = _main(point, main)
  if point.policy.edge_rule == "fused":
    extended = scores(edge_log_probabilities(point, main, extension))
  else:
    cooled = extension / np.float32(point.temperatures.extension)
    extended = scores(cooled, jnp.asarray(point.hard_classes.known))
  if point.policy.learns:
    assert point.gain is not None
    extended = with_gain(point.gain, extended, found, mass, True)
  ran = jnp.ones_like(found.prediction, bool)
  answer = edge_answer(point.policy, point.thresholds, found, extended, ran)
  return _outputs(_decision(point.policy, answer, found, extended), found)


def _after_cloud(point: OperatingPoint, main: Row, cloud: Row) -> Outputs:
  return _answer(point, main, None, cloud)


def _after_extension_and_cloud(
  point: OperatingPoint, main: Row, extension: Own, cloud: Row
) -> Outputs:
  return _answer(point, main, extension, cloud)


def _answer(point: OperatingPoint, main: Row, extension: Own | None, cloud: Row) -> Outputs:
  if fuses_cloud(point):
    cloud = with_cloud(point, edge_log_probabilities(point, main, extension), cloud)
  return {"prediction": jnp.argmax(cloud, axis=-1).astype(jnp.int32)}


def _main(point: OperatingPoint, main: Row) -> tuple[Scores, Float[jax.Array, " 1"]]:
  cooled = main / np.float32(point.temperatures.main)
  found, mass = scores(cooled), hard_probability(cooled, point.hard_classes.mask)
  if point.policy.learns:
    assert point.gain is not None
    found = with_gain(point.gain, found, found, mass, False)
  return found, mass


def _decision(policy: Policy, answer: EdgeAnswer, main: Scores, extension: Scores) -> Outputs:
  compared = compared_uncertainty(policy, main, extension, answer.exit == EXTENSION)
  return {
    "prediction": answer.prediction,
    "exit": answer.exit,
    "send": answer.complex.astype(jnp.int32),
    "uncertainty": jnp.zeros_like(main.max_prob) if compared is None else compared,
  }


def _outputs(decision: Outputs, main: Scores) -> Outputs:
  """The same, each output a computed tensor of its own.

  LiteRT's C interface gives a tensor one name only, and a constant may be no output elsewhere. What
  is added is always 0, for no probability exceeds 2, which the converter cannot know.
  """
  return {
    name: value + (main.max_prob > 2 + place).astype(value.dtype)
    for place, (name, value) in enumerate(decision.items())
  }
