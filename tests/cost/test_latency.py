import numpy as np
import pytest

from meanet_jax.config.schema import CostConfig
from meanet_jax.cost.device import Block, DeviceProfile, Timing
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares
from meanet_jax.cost.latency import mixture_quantile, route_points

MACS = BlockMacs(main=4_000_000, extension=8_000_000, cloud=0)
COSTS = CostModel(CostConfig(round_trip_ms=10.0, uplink_mbps=8.0), MACS, 1000)
# By the model: 1 ms main, 2 ms extension, 1 + 10 ms for 1000 bytes.
P95 = {
  "main alone": (Shares(1.0, 0.0, 0.0, 0.0), 1.0),
  "a twentieth extended": (Shares(1.0, 0.05, 0.0, 0.0), 1.0),
  "more than a twentieth extended": (Shares(1.0, 0.0501, 0.0, 0.0), 3.0),
  "a few sent": (Shares(1.0, 0.5, 0.04, 0.0), 3.0),
  "sent without extension": (Shares(1.0, 0.5, 0.06, 0.0), 12.0),
  "sent after the extension": (Shares(1.0, 0.5, 0.06, 0.06), 14.0),
  "half of the sent after it": (Shares(1.0, 0.5, 0.08, 0.04), 12.0),
  "all raw": (Shares(0.0, 0.0, 1.0, 0.0), 11.0),
}


@pytest.mark.parametrize(("shares", "expected"), P95.values(), ids=P95)
def test_the_models_quantile_is_that_of_the_routes(shares, expected):
  assert COSTS.latency_p95_ms(shares) == pytest.approx(expected, rel=1e-12)


def test_many_operating_points_at_once():
  shares, expected = zip(*(case for case in P95.values() if case[0].main == 1), strict=True)
  columns = (np.array(values) for values in zip(*map(_values, shares), strict=True))
  found = COSTS.latency_p95_ms(Shares(*columns))
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_it_is_the_quantile_of_a_plain_list_of_images():
  rng = np.random.default_rng(0)
  for _ in range(50):
    extended, sent = rng.random(200) < rng.random(), rng.random(200) < rng.random() / 5
    each = 1 + 2.0 * extended + 11 * sent
    shares = Shares(1.0, extended.mean(), sent.mean(), (extended & sent).mean())
    expected = np.quantile(each, 0.95, method="inverted_cdf")
    assert COSTS.latency_p95_ms(shares) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("mean", "p95"), [(5.0, 5.0), (5.0, 5.1), (5.0, 9.0), (5.0, 14.9)])
def test_a_block_alone_has_the_mean_and_the_quantile_that_it_was_given(mean, p95):
  points = route_points([Timing(mean, p95)])
  assert points.mean() == pytest.approx(mean, rel=2e-3)
  assert mixture_quantile([1.0], [points]) == pytest.approx(p95, rel=2e-3)
  assert points.min() >= 0


@pytest.mark.parametrize(("mean", "p95"), [(5.0, 4.0), (5.0, 40.0), (5.0, 100.0), (0.0, 0.0)])
def test_of_unusual_times_the_quantile_is_kept(mean, p95):
  points = route_points([Timing(mean, p95)])
  assert mixture_quantile([1.0], [points]) == pytest.approx(p95, rel=2e-3)


def test_a_mixture_of_sums_against_a_simulation():
  blocks = [Timing(2.0, 3.0), Timing(4.0, 6.5), Timing(1.0, 1.5), Timing(20.0, 35.0)]
  profile = DeviceProfile("n", "s", "2026-11-29", *(Block(b.mean_ms, b.p95_ms) for b in blocks))
  rng, n = np.random.default_rng(0), 1_000_000
  tail = np.log(20)
  scale = np.array([(b.p95_ms - b.mean_ms) / (tail - 1) for b in blocks])
  main, extension, *sending = (
    b.mean_ms - s + s * rng.exponential(size=n) for b, s in zip(blocks, scale, strict=True)
  )
  for extended, sent, both in ((0.3, 0.0, 0.0), (0.3, 0.04, 0.02), (0.5, 0.2, 0.1), (1, 1, 1)):
    # Main alone, extended, sent, both: in this order along the unit interval.
    u = (np.arange(n) + 0.5) / n
    ran = (u < extended) if both else (u >= 1 - extended)
    goes = (u < both) | (u >= 1 - (sent - both)) if both else u < sent
    expected = np.quantile(main + ran * extension + goes * sum(sending), 0.95)
    costs = CostModel(CostConfig(), MACS, 1000, profile)
    found = costs.latency_p95_ms(Shares(1.0, extended, sent, both))
    assert found == pytest.approx(expected, rel=0.01)


def test_ten_thousand_points_of_a_measured_profile_are_as_each_alone():
  block = Block(2.0, 3.0)
  profile = DeviceProfile("n", "s", "2026-11-29", block, block, block, Block(20.0, 35.0))
  sent = np.linspace(0, 1, 10_001)
  costs = CostModel(CostConfig(), MACS, 1000, profile)
  found = costs.latency_p95_ms(Shares(1.0, 0.2, sent, 0.2 * sent))
  assert (np.diff(found) >= 0).all()
  for index in (0, 400, 600, 10_000):
    one = Shares(1.0, 0.2, sent[index], 0.2 * sent[index])
    assert costs.latency_p95_ms(one) == found[index]


def _values(shares):
  return shares.main, shares.extension, shares.sent, shares.extension_and_sent
