"""Sums over a stream, of made-up results."""

import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.replies import NOT_ASKED, CloudAnswer, Fallback, Reply
from meanet_jax.edge.results import Result
from meanet_jax.edge.summary import Summary

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
