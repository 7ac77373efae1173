"""Energy meters on invented trees of sysfs."""

import time

import pytest

from meanet_jax.edge.measure import Energy, idle_energy
from meanet_jax.edge.power import Spent, find_meter


def tree(root, files):
  for name, text in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")
  return root


def rapl(package, name="package-0", energy=1_000_000, most=2_000_000):
  zone = f"class/powercap/{package}"
  return {
    f"{zone}/name": name,
    f"{zone}/energy_uj": energy,
    f"{zone}/max_energy_range_uj": most,
  }


INA = {"class/hwmon/hwmon1/name": "ina226", "class/hwmon/hwmon1/power1_input": 5_000_000}
BATTERY = {
  "class/power_supply/BAT0/type": "Battery",
  "class/power_supply/BAT0/status": "Discharging",
  "class/power_supply/BAT0/voltage_now": 8_000_000,
  "class/power_supply/BAT0/current_now": -500_000,
}


def test_counters_of_every_package_are_summed_and_start_again_at_their_maximum(tmp_path):
  zones = rapl("intel-rapl:0") | rapl("intel-rapl:1", "package-1")
  inner = rapl("intel-rapl:0:0", "core")  # is in its package's
  meter = find_meter(tree(tmp_path, zones | inner)).meter

  def work():
    tree(tmp_path, {"class/powercap/intel-rapl:0/energy_uj": 1_300_000})
    tree(tmp_path, {"class/powercap/intel-rapl:1/energy_uj": 100_000})
    tree(tmp_path, {"class/powercap/intel-rapl:0:0/energy_uj": 1_900_000})

  assert meter.covers == "RAPL, 2 CPU packages"
  assert meter.spent(work).energy_mj == pytest.approx(300 + 1100)


@pytest.mark.parametrize(
  ("files", "watts", "covers"),
  [
    (INA, 5.0, "ina226, the board"),
    (
      {
        "class/hwmon/hwmon0/name": "ina3221",
        "class/hwmon/hwmon0/in1_input": 5000,
        "class/hwmon/hwmon0/curr1_input": 800,
      },
      4.0,
      "ina3221, the board",
    ),
    (BATTERY, 4.0, "battery BAT0"),
    (BATTERY | {"class/power_supply/BAT0/power_now": 3_000_000}, 3.0, "battery BAT0"),
  ],
  ids=["ina", "ina in volts and amperes", "battery", "battery in watts"],
)
def test_power_times_time(tmp_path, files, watts, covers):
  meter = find_meter(tree(tmp_path, files)).meter
  assert meter.covers == covers
  spent = meter.spent(lambda: time.sleep(0.03))
  assert spent.seconds >= 0.03
  assert spent.energy_mj == pytest.approx(1e3 * watts * spent.seconds)
  assert meter.watts() == pytest.approx(watts)


def test_the_board_comes_before_the_cpu_and_that_before_the_battery(tmp_path):
  everything = tree(tmp_path, INA | rapl("intel-rapl:0") | BATTERY)
  assert find_meter(everything).meter.covers.startswith("ina226")
  (tmp_path / "class/hwmon/hwmon1/name").write_text("coretemp\n")
  assert find_meter(everything).meter.covers.startswith("RAPL")


@pytest.mark.parametrize(
  ("files", "reason"),
  [
    ({}, "no INA sensor in hwmon; no RAPL; no battery in power_supply"),
    (rapl("intel-rapl:0", energy="secret"), "RAPL that only root may read"),
    (BATTERY | {"class/power_supply/BAT0/status": "Charging"}, "battery BAT0 is not discharging"),
  ],
)
def test_why_there_is_none(tmp_path, files, reason):
  found = find_meter(tree(tmp_path, files))
  assert found.meter is None
  assert reason in found.reason


def test_a_counter_that_disappears_gives_no_energy(tmp_path):
  meter = find_meter(tree(tmp_path, rapl("intel-rapl:0"))).meter
  assert meter.spent((tmp_path / "class/powercap/intel-rapl:0/energy_uj").unlink) is None


class Invented:
  """500 mJ in half a second, whatever is done."""

  covers = "invented"

  def spent(self, work):
    work()
    return Spent(500.0, 0.5)


def test_energy_of_a_call_is_above_idle():
  calls = []
  found = Energy(Invented(), 0.0, 200.0).per_call_mj(lambda: calls.append(0))
  assert found == (500.0 - 200.0 * 0.5) / len(calls)
  assert Energy(Invented(), 0.0, 1e12).per_call_mj(lambda: None) == 0.0
  assert Energy(None, 0.0, None).per_call_mj(lambda: None) is None
  assert idle_energy(Invented(), 0.01).idle_mw == 1000.0
