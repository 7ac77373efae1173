"""Budgets, bandit and agreement monitoring on the running edge, with a server that answers."""

import dataclasses

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.offload import RetryPolicy
from meanet_jax.edge.manifest import Manifest, read_manifest
from meanet_jax.edge.online import ARMS, OnlineAdaptation
from meanet_jax.edge.online_constraints import OnlineConstraints
from meanet_jax.errors import UserError
from meanet_jax.routing.online.agreement import AgreementMonitor, is_monitored
from meanet_jax.routing.online.budget import Budget, guaranteed_excess
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.tflite.export import Options, export
from tests.edge.faulty_proxy import faulty_proxy
from tests.edge.links import LONG_DEADLINE, offloader_to, sending, stream
from tests.edge.oip_server import class_of, oip_server

COUNT = 1200


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
  return source.dataset.test.images


@pytest.fixture(scope="module")
def edge(exported) -> EdgeClassifier:
  return EdgeClassifier(exported)


@pytest.fixture(scope="module")
def manifest(exported) -> Manifest:
  limits = Thresholds(np.float32(0.5), np.float32(np.nan), np.float32(np.nan))
  return at(read_manifest(exported), Policy(), limits)


def at(manifest: Manifest, policy: Policy, limits: Thresholds) -> Manifest:
  point = dataclasses.replace(manifest.operating_point, policy=policy, thresholds=limits)
  return dataclasses.replace(manifest, operating_point=point)


def no_alarm(found) -> None:
  raise AssertionError(found)


def cycled(images: np.ndarray, count: int):
  return (Item(number, images[number % len(images)]) for number in range(count))


def test_a_share_is_kept(server, exported, edge, manifest, images):
  adaptation = OnlineAdaptation(manifest, OnlineConstraints(target_offload=0.3), 124, no_alarm)
  ran = stream(edge, cycled(images, COUNT), offloader_to(server.port, exported), adaptation)
  sent = [result.reply is not None for result in ran.by_number()]
  excess = guaranteed_excess(Budget(0.3), COUNT)
  assert 0.3 - excess <= np.mean(sent) <= 0.3 + excess
  figures = adaptation.figures()["budgets"]["target_offload"]
  assert figures["mean"] == pytest.approx(np.mean(sent))
  assert figures["images"] == COUNT


def test_a_share_is_kept_by_an_export_of_large_batches(server, source, manifest, images, tmp_path):
  """Thresholds move within a batch too: else it would be spent at one go."""
  export(source, tmp_path, Options(batch_size=64))
  for policy in (Policy(), Policy(offload="late")):
    limits = Thresholds(np.float32(0.5), np.float32(0.5), np.float32(np.nan))
    moved = at(manifest, policy, limits)
    edge = EdgeClassifier(tmp_path, operating_point=moved.operating_point)
    adaptation = OnlineAdaptation(moved, OnlineConstraints(target_offload=0.1), 124, no_alarm)
    ran = stream(edge, cycled(images, COUNT), offloader_to(server.port, tmp_path), adaptation)
    sent = np.asarray([result.reply is not None for result in ran.by_number()])
    excess = guaranteed_excess(Budget(0.1), COUNT)
    assert 0.1 - excess <= np.mean(sent) <= 0.1 + excess
    windows = np.lib.stride_tricks.sliding_window_view(sent[COUNT // 3 :], COUNT // 3)
    assert np.abs(windows.mean(axis=-1) - 0.1).max() <= 0.02


def test_bytes_are_kept_as_they_are_sent(server, exported, edge, manifest, images):
  constraints = OnlineConstraints(target_offload=0.9, max_bytes=25.0)
  offloader = offloader_to(server.port, exported)
  adaptation = OnlineAdaptation(manifest, constraints, offloader.message_bytes, no_alarm)
  ran = stream(edge, cycled(images, COUNT), offloader, adaptation)
  up = [result.reply.bytes_up if result.reply else 0 for result in ran.by_number()]
  size = max(up)
  assert size <= offloader.message_bytes + 3  # a number of more digits
  assert np.mean(up) <= 25 + guaranteed_excess(Budget(25, size), COUNT)
  assert np.mean(up) > 10
  figures = adaptation.figures()["budgets"]
  assert figures["max_bytes_per_image"]["mean"] == pytest.approx(np.mean(up))


def test_bytes_that_had_to_be_sent_again_are_spent(server, exported, edge, manifest, images):
  retry_policy = RetryPolicy(deadline=60.0, failures=10_000)
  with faulty_proxy(server.port) as proxy:
    proxy.set(truncate=700)  # a few answers, and the connection breaks
    offloader = offloader_to(proxy.port, exported, retry_policy=retry_policy)
    constraints = OnlineConstraints(max_bytes=40.0)
    adaptation = OnlineAdaptation(manifest, constraints, offloader.message_bytes, no_alarm)
    ran = stream(edge, cycled(images, 300), offloader, adaptation)
  replies = [result.reply for result in ran.by_number()]
  assert sum(reply.attempts - 1 for reply in replies if reply) > 0
  up = [reply.bytes_up if reply else 0 for reply in replies]
  found = adaptation.figures()["budgets"]["max_bytes_per_image"]
  assert found["mean"] == pytest.approx(np.mean(up))
  largest = offloader.message_bytes + 3
  late = 8 * LONG_DEADLINE.attempts * largest  # of a full window
  assert sum(up) <= 300 * 40 + guaranteed_excess(Budget(40, largest), 1) + late


def test_energy_is_the_cost_models(server, exported, edge, manifest, images):
  macs = manifest.files["edge.tflite"].signatures
  compute = 4.6e-9 * (macs["main"].macs + macs["extension"].macs)
  upload = 1e-3 * (283.17 * 18.88 + 132.86) * 124 * 8 / 18.88e3
  target = compute + 0.2 * upload
  adaptation = OnlineAdaptation(manifest, OnlineConstraints(max_energy_mj=target), 124, no_alarm)
  ran = stream(edge, cycled(images, COUNT), offloader_to(server.port, exported), adaptation)
  spent = [
    4.6e-9 * (macs["main"].macs + (macs["extension"].macs if result.answer.extension else 0))
    + (upload / 124 * result.reply.bytes_up if result.reply else 0)
    for result in ran.by_number()
  ]
  found = adaptation.figures()["budgets"]["max_energy_mj"]
  assert found["mean"] == pytest.approx(np.mean(spent))
  largest = compute + upload
  assert np.mean(spent) <= target + guaranteed_excess(Budget(target, 1.05 * largest), COUNT)


def test_a_cloud_that_is_away_does_not_move_the_threshold(exported, edge, manifest, images):
  with oip_server() as gone:
    port = gone.port
  offloader = offloader_to(port, exported)
  offloader._retry_policy = offloader._retry_policy._replace(reset_timeout=3600)
  offloader.open_circuit()
  adaptation = OnlineAdaptation(manifest, OnlineConstraints(target_offload=0.3), 124, no_alarm)
  before = adaptation.figures()["budgets"]["target_offload"]["normalised_threshold"]
  stream(edge, images, offloader, adaptation)
  figures = adaptation.figures()["budgets"]["target_offload"]
  assert (figures["normalised_threshold"], figures["images"]) == (before, 0)


def test_the_bandit_learns_what_offloading_is_worth(server, exported, edge, manifest, images):
  for cost, sends in ((0.0, True), (1.0, False)):
    constraints = OnlineConstraints(bandit=cost)
    adaptation = OnlineAdaptation(manifest, constraints, 124, no_alarm)
    ran = stream(edge, cycled(images, COUNT), offloader_to(server.port, exported), adaptation)
    arms = adaptation.figures()["bandit"]
    assert len(arms) == ARMS
    assert sum(arm["observed"] for arm in arms) == COUNT
    assert min(arm["observed"] for arm in arms) >= 1
    best = max(arms, key=lambda arm: arm["mean_reward"])
    if not sends:  # an answer of the cloud is worth 0.75 - 1
      assert arms[0]["mean_reward"] < best["mean_reward"]
      assert best["normalised_threshold"] > 0.5
    sent = [result.reply is not None for result in ran.by_number()]
    assert 0 < np.mean(sent) < 1


def test_monitored_images_are_sent_and_keep_the_edges_answer(server, exported, images, manifest):
  edge = sending(exported, 0.3, images)
  alarms = []
  monitor = AgreementMonitor(share=0.4, floor=0.9)
  adaptation = OnlineAdaptation(
    manifest, OnlineConstraints(agreement=monitor), 124, alarms.append, seed=3
  )
  adaptation.thresholds = lambda: None
  ran = stream(edge, images, offloader_to(server.port, exported), adaptation)
  agreed = []
  for result, image in zip(ran.by_number(), images, strict=True):
    chosen = is_monitored(monitor, 3, result.item.number) and not result.answer.complex
    assert (result.monitored is not None) == chosen
    assert (result.reply is not None) == (chosen or result.answer.complex)
    if chosen:
      assert result.prediction == result.answer.prediction
      assert result.exit == result.answer.exit
      assert result.fallback is None
      assert result.monitored == ("agrees" if class_of(image) == result.prediction else "differs")
      agreed.append(result.monitored == "agrees")
  newest = agreed[-monitor.window :]
  found = adaptation.figures()["agreement"]
  assert found["num_images"] == len(newest)
  # The server's classes are sums of pixels: the edge agrees by chance, and is told so once.
  assert found["alarm"]
  assert len(alarms) == 1


def test_monitoring_that_fails_changes_nothing(server, exported, images, manifest):
  edge = sending(exported, 0.0, images)
  server.mode = "invalid"
  adaptation = OnlineAdaptation(
    manifest, OnlineConstraints(agreement=AgreementMonitor(share=1.0)), 124, no_alarm
  )
  adaptation.thresholds = lambda: None
  ran = stream(edge, images[:50], offloader_to(server.port, exported), adaptation)
  assert {result.monitored for result in ran.by_number()} <= {"unanswered", None}
  assert {result.fallback for result in ran.results} == {None}
  assert adaptation.figures()["agreement"] is None


@pytest.mark.parametrize(
  ("constraints", "message"),
  [
    (OnlineConstraints(target_offload=0.0), "--target-offload is 0; accepted: a number above 0"),
    (OnlineConstraints(target_offload=1.5), "--target-offload is 1.5; accepted: a share up to 1"),
    (OnlineConstraints(max_bytes=-3.0), "--max-bytes-per-image is -3; accepted: a number above 0"),
    (OnlineConstraints(max_energy_mj=1e-9), "--max-energy-mj is 1e-09; accepted: a number above"),
    (
      OnlineConstraints(target_offload=0.1, agreement=AgreementMonitor(0.2)),
      "accepted: a number above 0.2, which an image",
    ),
    (OnlineConstraints(bandit=2.0), "--bandit is 2; accepted: a cost from 0 to 1"),
    (
      OnlineConstraints(bandit=0.1, target_offload=0.1),
      "--bandit with a budget; accepted: one of them",
    ),
    (
      OnlineConstraints(agreement=AgreementMonitor(1.5)),
      "agreement share is 1.5; accepted: a share from 0 to 1",
    ),
  ],
)
def test_constraints_that_cannot_be_kept(manifest, constraints, message):
  with pytest.raises(UserError, match=message):
    OnlineAdaptation(manifest, constraints, 124, no_alarm)


def test_a_policy_without_thresholds_has_none_to_move(manifest):
  never = at(manifest, Policy(offload="never"), manifest.operating_point.thresholds)
  for constraints in (OnlineConstraints(target_offload=0.1), OnlineConstraints(bandit=0.1)):
    with pytest.raises(UserError, match="offload is 'never'; accepted: 'early' or 'late'"):
      OnlineAdaptation(never, constraints, 124, no_alarm)
