"""Verification: what it accepts, what it refuses, and that `near` means what it says."""

import dataclasses

import jax
import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import file_entry
from meanet_jax.errors import UserError, VerificationError
from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.files import read_json, write_json
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import CLOUD, route
from meanet_jax.tflite.convert import convert
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.nearness import LOGIT_TOLERANCE, near_a_threshold
from meanet_jax.tflite.policy import policy_signatures
from meanet_jax.tflite.verify import LogitDifference, compare, judge, verify
from tests.edge.links import at_thresholds
from tests.exports import configured
from tests.learned import some_weights

POLICIES = [
  *(
    Policy(hard, edge, offload, criterion)
    for hard in ("argmax", "probability")
    for edge in ("extension", "most_confident")
    for offload in ("early", "late", "never")
    for criterion in ("entropy", "max_prob", "margin")
  ),
  *(
    Policy("argmax_uncertain", "fused", "late", criterion)
    for criterion in ("entropy", "max_prob", "margin")
  ),
  Policy("uncertain", "extension", "early", "max_prob"),
  Policy("argmax_uncertain", "fused", "late", "max_prob", "fused"),
  Policy("argmax", "extension", "late", "learned"),
  Policy("argmax_uncertain", "fused", "late", "learned"),
]


def test_an_export_is_jax_and_the_evaluation(source, exported, evaluated_run, printed):
  verify(source, exported)
  found = compare(source, exported, source.dataset.test)
  judge(found)
  assert set(found.logits) == {"main", "extension", "cloud"}
  assert not (found.differs & ~found.near).any()
  # The figures that eval.py wrote, from an early exit in LiteRT.
  summary = read_json(evaluated_run / "eval/summary.json")["systems"]["meanet"]
  accuracy = np.mean(found.predictions == found.labels, axis=1)
  assert accuracy[0] == pytest.approx(summary["accuracy"])
  assert accuracy[1] == pytest.approx(summary["accuracy"], abs=2 / len(found.labels))
  for number, name in enumerate(("main", "extension", "cloud")):
    share = np.mean(found.exits == number, axis=1)
    assert share[0] == pytest.approx(summary["fraction"][name])
    assert share[0] > 0
  # Skipping shows in the time of those that skipped, not in an average alone.
  skipped = found.exits[1] == 0
  assert np.median(found.early[skipped]) < np.median(found.always[skipped])
  text = printed()
  for word in ("accuracy", "end at cloud", "agreement", "spread", "p50", "p95", "both blocks"):
    assert word in text
  assert "latency per image, LiteRT, 1 thread [ms]" in text


def test_other_weights_are_refused(source, exported):
  other = dataclasses.replace(
    source,
    variables=source.variables
    | {"main": jax.tree.map(lambda leaf: leaf * np.float32(1.01), source.variables["main"])},
  )
  found = compare(other, exported, source.dataset.test)
  with pytest.raises(
    VerificationError, match=r"logits of exit main differ by .* accepted: 0\.0001 of"
  ):
    judge(found)
  assert VerificationError.status == 1


def test_another_threshold_is_refused(source, exported):
  point = source.operating_point
  moved = point.thresholds._replace(main=point.thresholds.main * np.float32(0.9))
  other = dataclasses.replace(source, operating_point=dataclasses.replace(point, thresholds=moved))
  found = compare(other, exported, source.dataset.test)
  assert found.differs.any()
  with pytest.raises(VerificationError, match="decisions differ away from a threshold, first that"):
    judge(found)
  # The same disagreement near a threshold would be accepted.
  judge(found._replace(near=np.ones_like(found.near)))
  nan = LogitDifference(float("nan"), 1.0)
  with pytest.raises(VerificationError, match="differ by nan"):
    judge(found._replace(logits={"main": nan}))


def test_answers_that_fuse_the_clouds_are_compared(source, exported, tmp_path):
  policy = Policy("argmax_uncertain", "fused", "late", "max_prob", "fused")
  limits = Thresholds(0.05, 0.05, np.nan, 0.1)
  point = at_thresholds(exported, policy, limits, FusionWeights(0.7, 0.6))
  fields = read_json(exported / "edge.json") | {"operating_point": point.to_json()}
  write_json(tmp_path / "edge.json", fields)
  for name in ("edge.tflite", "cloud.tflite", "policy.tflite"):
    (tmp_path / name).symlink_to(exported / name)
  asked = dataclasses.replace(source, operating_point=point)
  found = compare(asked, tmp_path, source.dataset.test)
  assert (found.exits[1] == CLOUD).any()
  assert not found.differs[~found.near].any()
  with pytest.raises(VerificationError, match=r"decisions by policy\.tflite differ away from a"):
    judge(found)  # the file is that of another operating point
  model = convert(policy_signatures(point))
  fields["files"]["policy.tflite"] = dataclasses.asdict(file_entry(model, {}))
  write_json(tmp_path / "edge.json", fields)
  (tmp_path / "policy.tflite").unlink()
  (tmp_path / "policy.tflite").write_bytes(model)
  found = compare(asked, tmp_path, source.dataset.test)
  judge(found)
  assert not found.policy_differs.any()
  # The device's class with the edge's distribution left out is another one somewhere.
  alone = dataclasses.replace(point, fusion=FusionWeights(0.7, 1.0))
  found = compare(dataclasses.replace(source, operating_point=alone), tmp_path, source.dataset.test)
  assert (found.predictions[0] != found.predictions[1])[found.exits[1] == CLOUD].any()


@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_a_quantised_export_is_told_of_and_not_judged(source, tmp_path, quantize, printed):
  export(source, tmp_path, Options(quantize))
  verify(source, tmp_path)
  assert "agreement" in printed()
  found = compare(source, tmp_path, source.dataset.test)
  assert max(d.largest / d.spread for d in found.logits.values()) > LOGIT_TOLERANCE


def test_untrained_networks_have_nothing_to_verify_on(tmp_path):
  with pytest.raises(UserError, match="untrained networks have no test split"):
    verify(configured("digits"), tmp_path)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_only_near_decisions_can_turn_when_logits_move_by_the_tolerance(policy):
  rng = np.random.default_rng(0)
  classes, hard_classes, count = 6, np.array([1, 4, 5], np.int32), 4000
  temperatures, fusion = Temperatures(1.5, 0.7, 1.0), FusionWeights(0.6, 0.5)
  known_classes = HardClasses(hard_classes, classes)
  hard = known_classes.mask
  labels = rng.integers(classes, size=count)
  scale = rng.choice([0.3, 1, 4], size=(count, 1))

  def logits(width: int) -> np.ndarray:
    return (rng.normal(size=(count, width)) * scale).astype(np.float32)

  known = logits(classes), logits(3)
  outputs = Outputs(*known, logits(classes))
  gain = some_weights(classes)
  fitted = (known_classes, temperatures, fusion, gain)
  records = make_records(outputs, labels, *fitted)
  middle = float(np.median(records.main.entropy)) if policy.criterion == "entropy" else 0.5
  # Many images at the threshold itself: the median of what it is compared with.
  limits = (middle, 0.4, 0.5, 0.8 * middle)
  if policy.learns:
    limits = (*(np.median(of.gain) for of in (records.main, records.extension)), 0.5, 0.4)
  thresholds = Thresholds(*map(np.float32, limits))
  point = OperatingPoint(policy, thresholds, temperatures, known_classes, fusion, gain)
  near = near_a_threshold(point, records, outputs)
  assert near.mean() < 0.1
  before = route(policy, thresholds, records, hard)
  turned = np.zeros(count, bool)
  for _ in range(30):
    signs = [rng.choice([-1, 1], size=logits.shape).astype(np.float32) for logits in known]
    steps = [np.float32(LOGIT_TOLERANCE * np.ptp(logits)) for logits in known]
    main, extension = (x + s * d for x, s, d in zip(known, signs, steps, strict=True))
    moved = Outputs(main, extension, outputs.cloud)
    after = route(policy, thresholds, make_records(moved, labels, *fitted), hard)
    turned |= (before.exit != after.exit) | (before.prediction != after.prediction)
  assert turned.any()
  assert not (turned & ~near).any()


def test_records_of_the_evaluation_hold_the_same_scores(source, exported, evaluated_run):
  """Beside the logits: what the rules look at, as eval.py kept it."""
  records = load_records(evaluated_run / "eval/records.npz", None).records()
  outputs = EdgeClassifier(exported).outputs(source.dataset.test.images)
  for name, of in (("main", records.main), ("extension", records.extension)):
    for score in ("max_prob", "entropy", "margin"):
      np.testing.assert_allclose(outputs[name][score], getattr(of, score), rtol=1e-3, atol=1e-5)
    assert np.mean(outputs[name]["prediction"] == of.prediction) > 0.995
  np.testing.assert_allclose(
    outputs["main"]["hard_probability"], records.hard_probability, rtol=1e-3, atol=1e-5
  )


def test_entropies_move_further_than_probabilities():
  """Half of the mass on one of 100 classes: the entropy moves by 2.3 times what logits move."""
  main = np.zeros((2, 100), np.float32)
  main[:, 0] = np.log(99)
  nothing = np.array([0], np.int32)
  outputs = Outputs(main, np.zeros((2, 1), np.float32), main)
  classes, temperatures = HardClasses(nothing, 100), Temperatures()
  labels = np.zeros(2, np.int64)
  before = make_records(outputs, labels, classes)
  moved, step = main.copy(), np.float32(LOGIT_TOLERANCE * np.ptp(main))
  moved[0] -= step * np.where(np.arange(100) == 0, 1, -1).astype(np.float32)
  after = make_records(outputs._replace(main=moved), labels, classes)
  rise = after.main.entropy[0] - before.main.entropy[0]
  assert rise > 2.2 * step
  limit = before.main.entropy[0] + np.float32(0.9) * rise
  thresholds = Thresholds(limit, *(np.float32(np.nan),) * 2)
  policy = Policy()
  ends, moved_ends = (
    route(policy, thresholds, records, classes.mask).exit.tolist() for records in (before, after)
  )
  assert ends != moved_ends
  point = OperatingPoint(policy, thresholds, temperatures, classes)
  assert near_a_threshold(point, before, outputs).all()
