"""What was asked, kept and realised, and the verdict, as lines of the terminal and the report."""

from collections.abc import Mapping
from typing import Any

from meanet_jax.log import logger

_COLUMNS = {  # of a limit's figure, by which it is written
  "max_offload": ("share sent", "%"),
  "max_bytes": ("bytes sent per image", "bytes"),
  "max_energy_mj": ("edge energy", "mJ"),
  "max_latency_ms": ("mean latency", "ms"),
  "max_latency_p95_ms": ("p95 latency", "ms"),
  "min_accuracy": ("accuracy", "%"),
  "min_balanced_accuracy": ("balanced accuracy", "%"),
  "min_class_recall": ("worst class's recall", "%"),
}


def limit_lines(entry: Mapping[str, Any]) -> list[str]:
  """A line for each limit of a system's entry: asked, on validation, on test, and the threshold."""
  thresholds = entry["thresholds"].items()
  used = [f"{name} {value:.4g}" for name, value in thresholds if value is not None]
  lines = [_limit_line(name, limit) for name, limit in entry.get("limits", {}).items()]
  at = f"; threshold {', '.join(used)}" if used else ""
  return [line + at for line in lines]


def noise_line(entry: Mapping[str, Any]) -> str | None:
  """What is given up for fewer images sent, within the noise of validation.

  None where another rule selected.
  """
  noise = entry.get("noise")
  if noise is None:
    return None
  sent, most = 100 * noise["fraction_cloud"], 100 * noise["highest_fraction_cloud"]
  within = f"one standard error ({100 * noise['standard_error']:.1f} points)"
  if sent == most:
    return f"sends {sent:.1f}% of the validation images; nothing cheaper is within {within} of it"
  return (
    f"sends {sent:.1f}% of the validation images, {100 * noise['accuracy']:.1f}% accurate: within "
    f"{within} of the best, which sends {most:.1f}% ({100 * noise['highest_accuracy']:.1f}%)"
  )


def show_limits(name: str, entry: Mapping[str, Any]) -> None:
  """Prints both for a system."""
  noise = noise_line(entry)
  for line in [*limit_lines(entry), *([] if noise is None else [noise])]:
    logger.info(f"{name}: {line}")


def show_verdict(summary: Mapping[str, Any]) -> None:
  """Prints what `meanet` and the system to deploy keep, and the verdict."""
  verdict, systems = summary["verdict"], summary["systems"]
  for name in dict.fromkeys(("meanet", verdict["system"])):
    if name is not None:
      show_limits(name, systems[name])
  if verdict["system"] is None:
    logger.warning(verdict["sentence"])
  else:
    logger.info(f"verdict: {verdict['sentence']}")


def limit_cells(name: str, limit: Mapping[str, Any]) -> tuple[str, str, str, str]:
  """What is limited, what was asked, what validation has, and what test has with its interval.

  Args:
    name: of the field of `Constraints`.
    limit: its entry in summary.json; without figures on test if there are none.
  """
  what, unit = _COLUMNS[name]
  tested = "-"
  if "test" in limit:
    low, high = (_text(end, unit).removesuffix(unit).rstrip() for end in limit["interval"])
    tested = f"{_text(limit['test'], unit)} [{low}, {high}]"
  asked = f"{bound_words(name)} {_text(limit['asked'], unit)}"
  return what, asked, _text(limit["validation"], unit), tested


def bound_words(name: str) -> str:
  """How a field of `Constraints` limits: `at least` or `at most`."""
  return "at least" if name.startswith("min_") else "at most"


def _limit_line(name: str, limit: Mapping[str, Any]) -> str:
  what, asked, validation, tested = limit_cells(name, limit)
  text = f"{what}: asked {asked}; validation {validation}"
  return text if tested == "-" else f"{text}; test {tested}"


def _text(value: float, unit: str) -> str:
  if unit == "%":
    return f"{100 * value:.1f}%"
  return f"{value:.1f} bytes" if unit == "bytes" else f"{value:.4g} {unit}"
