"""The running edge against a server that answers, lies, hangs and comes back. Real sockets."""

import itertools
import threading

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.combination import cloud_prediction
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link import offload
from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.offload import RetryPolicy
from meanet_jax.edge.link.replies import Fallback
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import CLOUD, EXTENSION
from meanet_jax.tflite.export import Options, export
from tests.edge.links import LONG_DEADLINE, at_thresholds, offloader_to, sending, stream, untimed
from tests.edge.oip_server import OipServer, class_of, logits_of, oip_server


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
  return source.dataset.test.images[:120]


@pytest.fixture(scope="module")
def alone(exported, images):
  """What the edge says by itself, at `sending`'s policy."""
  return sending(exported, 0.5, images).classify(images)


def check_answers(found, images, alone, reasons: set[Fallback]):
  """Each image has the cloud's answer, or the edge's own and one of these reasons."""
  for result, image, own in zip(found, images, alone, strict=True):
    assert result.answer.complex == own.complex
    if result.exit == CLOUD:
      assert own.complex
      assert result.prediction == class_of(image)
      assert result.probability == 0.75
      assert result.fallback is None
    else:
      assert untimed(result.answer) == untimed(own)
      assert result.prediction == own.prediction
      assert (result.fallback in reasons) == own.complex


@pytest.fixture(scope="module")
def fusing(exported) -> EdgeClassifier:
  """An edge that sends everything, and combines the cloud's answer with its own."""
  policy = Policy("argmax_uncertain", "fused", "late", "max_prob", "fused")
  point = at_thresholds(exported, policy, Thresholds(-1, -1, np.nan, 0.1), FusionWeights(0.7, 0.6))
  return EdgeClassifier(exported, operating_point=point)


@pytest.mark.parametrize("mode", ["right", "typed"])
def test_a_policy_that_fuses_the_clouds_answer_works_by_its_logits(
  server, exported, images, fusing, mode, capsys
):
  server.mode = mode
  offloader = offloader_to(server.port, exported, logits=True)
  found = stream(fusing, images, offloader).by_number()
  decisions = [one for image in images for one in fusing.decide(image[None])]
  expected = [
    cloud_prediction(fusing.operating_point, one, logits_of(image))
    for one, image in zip(decisions, images, strict=True)
  ]
  assert [one.prediction for one in found] == expected
  # Neither always the cloud's class nor always the edge's.
  assert expected != [class_of(image) for image in images]
  assert expected != [one.answer.prediction for one in decisions]
  assert {one.exit for one in found} == {CLOUD}
  assert all(0 < one.probability < 1 for one in found)
  assert capsys.readouterr().err == ""


def test_the_cloud_replaces_where_it_gives_no_logits_which_is_said_once(
  server, exported, images, fusing, capsys
):
  server.gives_logits = False  # the first request finds out
  found = stream(fusing, images, offloader_to(server.port, exported, logits=True)).by_number()
  assert [one.prediction for one in found] == [class_of(image) for image in images]
  assert {one.probability for one in found} == {0.75}
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("warning: the cloud gives no logits, with which ")


LOGIT_LIES = [
  ("few_logits", Fallback.WRONG_SHAPE),
  ("infinite_logits", Fallback.WRONG_CLASSES),
]


@pytest.mark.parametrize(("mode", "reason"), LOGIT_LIES)
def test_logits_that_are_none_leave_the_edges_answer(
  server, exported, images, fusing, mode, reason
):
  server.mode = mode
  never_opens = LONG_DEADLINE._replace(failures=10**6)
  offloader = offloader_to(server.port, exported, logits=True, retry_policy=never_opens)
  found = stream(fusing, images, offloader).by_number()
  assert {one.fallback for one in found} == {reason}
  assert [one.prediction for one in found] == [own.prediction for own in fusing.classify(images)]


@pytest.mark.parametrize("mode", ["right", "typed"])
@pytest.mark.parametrize("window", [1, 8])
def test_complex_images_have_the_clouds_answer_and_the_others_the_edges(
  server, exported, images, alone, mode, window
):
  server.mode = mode
  edge = sending(exported, 0.5, images)
  found = stream(edge, images, offloader_to(server.port, exported, window=window)).by_number()
  check_answers(found, images, alone, set())
  sent = [result for result in found if result.reply is not None]
  assert len(sent) == sum(own.complex for own in alone) == server.requests
  for result in sent:
    assert result.reply.bytes_up > images[0].size
    assert result.reply.bytes_down > 0
    assert result.reply.attempts == 1


LIES = [
  ("error", Fallback.REFUSED),
  ("full", Fallback.FULL),
  ("invalid", Fallback.REFUSED),
  ("no_outputs", Fallback.WRONG_SHAPE),
  ("two_answers", Fallback.WRONG_SHAPE),
  ("cut", Fallback.WRONG_SHAPE),
  ("float_class", Fallback.WRONG_SHAPE),
  ("other_id", Fallback.WRONG_SHAPE),
  ("no_class", Fallback.WRONG_CLASSES),
  ("negative_class", Fallback.WRONG_CLASSES),
  ("no_probability", Fallback.WRONG_CLASSES),
  ("other_classes", Fallback.WRONG_CLASSES),
]


@pytest.mark.parametrize(("mode", "reason"), LIES)
def test_an_answer_that_cannot_be_is_not_given_and_soon_not_asked_for(
  server, exported, images, alone, mode, reason
):
  server.mode = mode
  edge = sending(exported, 0.5, images)
  retry_policy = RetryPolicy(deadline=60, failures=5, reset_timeout=3600)
  ran = stream(
    edge, images, offloader_to(server.port, exported, window=4, retry_policy=retry_policy)
  )
  found = ran.by_number()
  check_answers(found, images, alone, {reason, Fallback.CIRCUIT_OPEN})
  reasons = [result.fallback for result in found if result.answer.complex]
  # What is under way when the fifth fails is still collected.
  assert 5 <= reasons.count(reason) <= 5 + 4
  attempts = retry_policy.attempts if reason is Fallback.FULL else 1
  assert server.requests == attempts * reasons.count(reason)
  # Every attempt sends the image again.
  expected = ran.offloader._expected
  for result in found:
    if result.fallback is reason:
      message = expected.request(result.item.number, images[result.item.number].tobytes())
      assert result.reply.attempts == attempts
      assert result.reply.bytes_up == attempts * message.ByteSize()
  assert ran.offloader.opened == 1


def test_every_mode_of_the_server_is_tried():
  assert {"right", "typed", *(mode for mode, _ in LIES + LOGIT_LIES)} == set(OipServer.MODES)


def test_the_extension_runs_after_all_when_the_cloud_does_not_answer(
  server, exported, images, alone
):
  server.mode = "error"
  edge = sending(exported, 0.5, images)
  calls, extension = [], edge._extension

  def watch(**arguments):
    calls.append(arguments)
    return extension(**arguments)

  edge._extension = watch
  found = stream(edge, images, offloader_to(server.port, exported)).by_number()
  assert len(calls) == sum(own.extension is not None for own in alone)
  assert any(result.answer.complex and result.answer.extension for result in found)
  calls.clear()
  server.mode = "right"
  stream(edge, images, offloader_to(server.port, exported))
  skipped = [own for own in alone if own.complex and own.extension is not None]
  assert len(calls) == sum(own.extension is not None for own in alone) - len(skipped)
  assert skipped


def test_an_extension_that_was_skipped_at_first_gives_the_same_answer(exported, images, alone):
  edge = sending(exported, 0.5, images)
  decisions = [one for image in images for one in edge.decide(image[None])]
  for decision, own in zip(decisions, alone, strict=True):
    assert untimed(edge.answer_alone(decision)) == untimed(own)
  skipped = [own.exit for decision, own in zip(decisions, alone, strict=True) if decision.skipped]
  assert EXTENSION in skipped


@pytest.mark.parametrize("batch_size", [4, 7])
def test_an_export_of_batches(server, source, tmp_path, images, exported, alone, batch_size):
  export(source, tmp_path, Options(batch_size=batch_size))
  half = sending(exported, 0.5, images).operating_point
  edge = EdgeClassifier(tmp_path, operating_point=half)
  for mode in ("right", "invalid"):
    server.mode = mode
    found = stream(edge, images, offloader_to(server.port, exported)).by_number()
    for result, image, own in zip(found, images, alone, strict=True):
      expected = class_of(image) if mode == "right" and own.complex else own.prediction
      assert result.prediction == expected
      assert (result.exit == CLOUD) == (mode == "right" and own.complex)


def test_images_are_classified_while_others_are_under_way(server, exported, images):
  edge = sending(exported, 0.2, images)
  server.open.clear()
  before: list[int] = []

  def give(one):
    before.append(one.item.number)
    if len(before) == 30:  # none of them waited for the cloud, which has answered nothing
      assert one.reply is None
      server.open.set()

  found = stream(edge, images, offloader_to(server.port, exported, window=64), give=give)
  assert all(result.fallback is None for result in found.by_number())
  assert before[:30] != sorted(before)[:30]


def test_no_more_are_under_way_than_the_window_allows(server, exported, images):
  edge = sending(exported, 1.0, images)
  offloader = offloader_to(server.port, exported, window=3)
  under_way, submit = [], offloader.submit

  def watch(*arguments):
    submit(*arguments)
    under_way.append(offloader.in_flight)

  offloader.submit = watch
  stream(edge, images, offloader)
  assert max(under_way) == 3
  assert offloader.in_flight == 0


def test_a_cloud_that_hangs_is_late_then_left_alone_and_asked_again_when_it_is_back(
  server, exported, images, alone
):
  edge = sending(exported, 0.5, images)
  retry_policy = RetryPolicy(deadline=0.2, failures=3, reset_timeout=0.05)
  offloader = offloader_to(server.port, exported, window=4, retry_policy=retry_policy)
  server.open.clear()

  def items():
    yield from (Item(number, image) for number, image in enumerate(images))
    # It answers again, and the circuit has been open long enough: the next complex image finds out.
    server.open.set()
    offloader._retry_policy = retry_policy._replace(deadline=60.0)
    pause = threading.Event()
    while not offloader.ready():
      pause.wait(0.01)
    number = len(images)
    for number in itertools.count(len(images)):
      yield Item(number, images[number % len(images)])
      if offloader._breaker.current_state == "closed":
        break
      pause.wait(0.001)
    for place, image in enumerate(images):
      yield Item(number + 1 + place, image)

  found = stream(edge, items(), offloader).by_number()
  check_answers(found[: len(images)], images, alone, {Fallback.LATE, Fallback.CIRCUIT_OPEN})
  assert Fallback.LATE in {result.fallback for result in found[: len(images)]}
  last = found[-len(images) :]
  check_answers(last, images, alone, set())
  assert offloader.opened >= 1


def test_nobody_is_there(exported, images, alone):
  with oip_server() as gone:
    port = gone.port
  edge = sending(exported, 0.5, images)
  retry_policy = RetryPolicy(deadline=60, failures=5, reset_timeout=3600)
  ran = stream(edge, images, offloader_to(port, exported, window=2, retry_policy=retry_policy))
  found = ran.by_number()
  check_answers(found, images, alone, {Fallback.UNREACHABLE, Fallback.CIRCUIT_OPEN})
  tried = [result.reply for result in found if result.fallback is Fallback.UNREACHABLE]
  assert [reply.attempts for reply in tried] == [LONG_DEADLINE.attempts] * len(tried)
  known = offloader_to(port, exported, retry_policy=retry_policy)
  known.open_circuit()
  reasons = {result.fallback for result in stream(edge, images, known).results}
  assert reasons == {None, Fallback.CIRCUIT_OPEN}


def test_the_classes_of_encoded_images_are_asked_for(server, exported, images):
  edge = sending(exported, 1.0, images)
  offloader = offloader_to(server.port, exported, encoding=Encoding("png"))
  found = stream(edge, images[:20], offloader).by_number()
  assert all(result.exit == CLOUD for result in found)  # whatever it makes of the bytes


def test_a_defect_is_not_taken_for_a_slow_network(server, exported, images, monkeypatch):
  def broken(*_):
    raise ZeroDivisionError

  edge = sending(exported, 1.0, images)
  monkeypatch.setattr(offload, "read_answer", broken)
  with pytest.raises(ZeroDivisionError):
    stream(edge, images, offloader_to(server.port, exported))
