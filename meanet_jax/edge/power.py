"""Energy of a device, from what Linux offers in sysfs: INA sensors, RAPL, batteries."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

SYSFS = Path("/sys")
_SECONDS_BETWEEN_SAMPLES = 0.02
_COUNTER = ("energy_uj", "max_energy_range_uj")


class Spent(NamedTuple):
  """Energy in millijoules, and the seconds in which it was spent."""

  energy_mj: float
  seconds: float


@runtime_checkable
class Meter(Protocol):
  """A source of energy readings."""

  @property
  def covers(self) -> str:
    """What it measures, in words."""
    ...

  def spent(self, work: Callable[[], None]) -> Spent | None:
    """What the device takes while `work` runs; None if it cannot be read."""
    ...


class Found(NamedTuple):
  """A meter, or None and why there is none."""

  meter: Meter | None
  reason: str


class EnergyCounters(NamedTuple):
  """RAPL: counters in microjoules that start again at their maximum, of every CPU package.

  zones: directories with `energy_uj` and `max_energy_range_uj`.
  """

  zones: tuple[Path, ...]

  @property
  def covers(self) -> str:
    """See `Meter`."""
    return f"RAPL, {len(self.zones)} CPU package{'s' if len(self.zones) > 1 else ''}"

  def spent(self, work: Callable[[], None]) -> Spent | None:
    """See `Meter`; right for less than one round of the counters, which take minutes."""
    try:
      before = [_number(zone / "energy_uj") for zone in self.zones]
      started = time.perf_counter()
      work()
      seconds = time.perf_counter() - started
      total = 0.0
      for zone, begun in zip(self.zones, before, strict=True):
        spent = _number(zone / "energy_uj") - begun
        total += spent if spent >= 0 else spent + _number(zone / "max_energy_range_uj")
    except (OSError, ValueError):
      return None
    return Spent(total * 1e-3, seconds)


class PowerSamples(NamedTuple):
  """A power reading in watts, sampled by a thread while the work runs."""

  covers: str
  watts: Callable[[], float]

  def spent(self, work: Callable[[], None]) -> Spent | None:
    """See `Meter`: mean power times time."""
    samples: list[float] = []
    ended = threading.Event()

    def sample() -> None:
      while True:
        try:
          samples.append(self.watts())
        except (OSError, ValueError):
          return
        if ended.wait(_SECONDS_BETWEEN_SAMPLES):
          return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    begun = time.perf_counter()
    try:
      work()
    finally:
      seconds = time.perf_counter() - begun
      ended.set()
      thread.join()
    return Spent(sum(samples) / len(samples) * seconds * 1e3, seconds) if samples else None


def find_meter(root: Path = SYSFS) -> Found:
  """The first that can be read: an INA sensor, which sees the board; RAPL; a battery.

  Args:
    root: of sysfs.
  """
  reasons = []
  for look in (_ina, _rapl, _battery):
    found = look(root)
    if found.meter is not None:
      return found
    reasons.append(found.reason)
  return Found(None, "; ".join(reasons))


def _ina(root: Path) -> Found:
  for device in sorted((root / "class/hwmon").glob("hwmon*")):
    name = _text(device / "name")
    # In microwatts; older drivers have millivolts and milliamperes alone.
    readings: list[tuple[list[Path], float]] = [
      ([device / "power1_input"], 1e-6),
      ([device / "in1_input", device / "curr1_input"], 1e-6),
    ]
    for files, scale in readings if name.startswith("ina") else []:
      if _can_read(files):
        return Found(PowerSamples(f"{name}, the board", _product(files, scale)), "")
  return Found(None, "no INA sensor in hwmon")


def _rapl(root: Path) -> Found:
  packages = [
    zone
    for zone in sorted((root / "class/powercap").glob("intel-rapl:*"))
    if _text(zone / "name").startswith("package")
  ]
  if not packages:
    return Found(None, "no RAPL")
  if not _can_read([zone / file for zone in packages for file in _COUNTER]):
    return Found(None, "RAPL that only root may read")
  return Found(EnergyCounters(tuple(packages)), "")


def _battery(root: Path) -> Found:
  for supply in sorted((root / "class/power_supply").glob("*")):
    if _text(supply / "type") != "Battery":
      continue
    if _text(supply / "status") != "Discharging":
      return Found(None, f"battery {supply.name} is not discharging")
    # Microwatts, or microvolts times microamperes.
    for names, scale in ((("power_now",), 1e-6), (("voltage_now", "current_now"), 1e-12)):
      files = [supply / name for name in names]
      if _can_read(files):
        return Found(PowerSamples(f"battery {supply.name}", _product(files, scale)), "")
  return Found(None, "no battery in power_supply")


def _product(files: list[Path], scale: float) -> Callable[[], float]:
  def watts() -> float:
    value = scale
    for file in files:
      value *= abs(_number(file))  # drivers differ in the sign of what is discharged
    return value

  return watts


def _can_read(files: list[Path]) -> bool:
  try:
    for file in files:
      _number(file)
  except (OSError, ValueError):
    return False
  return True


def _number(file: Path) -> int:
  return int(file.read_text(encoding="ascii"))


def _text(file: Path) -> str:
  try:
    return file.read_text(encoding="utf-8").strip()
  except (OSError, ValueError):
    return ""
