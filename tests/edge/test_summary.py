"""Sums over a stream, of made-up results."""

import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.replies import NOT_ASKED, CloudAnswer, Fallback, Reply
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.edge.online import OnlineAdaptation
from meanet_jax.edge.online_constraints import OnlineConstraints
from meanet_jax.edge.results import Result
from meanet_jax.edge.summary import Summary
from meanet_jax.routing.online.agreement import AgreementMonitor
from meanet_jax.routing.policies import Policy, fixed_thresholds
from tests.edge.links import at_thresholds

ANSWERED = Reply(CloudAnswer(3, 0.75), None, 100, 10, 1, 0.0, 0.0)


@pytest.mark.parametrize(
  ("replies", "sent", "retries"),
  [
    ([ANSWERED, ANSWERED], 2, 0),
    ([ANSWERED._replace(attempts=3), ANSWERED], 2, 2),
    ([Reply(None, Fallback.FULL, 300, 0, 3, 0.0, 0.0), NOT_ASKED, None], 1, 2),
  ],
)
def test_a_first_attempt_is_no_retry(source, exported, replies, sent, retries):
  edge = EdgeClassifier(exported)
  image = source.dataset.test.images[0]
  (answer,) = edge.classify(image[None])
  summary = Summary()
  for number, reply in enumerate(replies):
    summary.add(Result(Item(number, image), answer, reply, None, 0.0))
  assert (summary.answered, summary.sent, summary.retries) == (len(replies), sent, retries)
  assert summary.bytes_up == sum(reply.bytes_up for reply in replies if reply is not None)


@pytest.mark.parametrize("adapts", [False, True])
def test_what_other_thresholds_lead_to_is_not_compared_with_validation(source, exported, adapts):
  never = at_thresholds(exported, Policy(offload="never"), fixed_thresholds())
  edge = EdgeClassifier(exported, operating_point=never)
  image = source.dataset.test.images[0]
  (answer,) = edge.classify(image[None])
  summary = Summary(adapts=adapts)
  for number in range(30):  # all of them wrong
    item = Item(number, image, label=(answer.prediction + 1) % 10)
    summary.add(Result(item, answer, None, None, 0.0))
  figures = summary.figures(edge.manifest, 1.0)
  compared = {check["assumption"] for check in figures["checks"]}
  assert compared & {"images", "accuracy"} == (set() if adapts else {"images", "accuracy"})
  assert figures["accuracy"] == 0


def test_monitoring_alone_moves_no_thresholds(exported):
  manifest = read_manifest(exported)
  for constraints, moves in (
    (OnlineConstraints(agreement=AgreementMonitor(0.1)), False),
    (OnlineConstraints(target_offload=0.1), True),
    (OnlineConstraints(bandit=0.5), True),
  ):
    adaptation = OnlineAdaptation(manifest, constraints, 64, lambda _: None)
    assert adaptation.moves_thresholds == moves
    assert (adaptation.thresholds() is not None) == moves
