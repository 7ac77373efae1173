"""Answers and summary as text for a person."""

from typing import Any

from meanet_jax.edge.manifest import Manifest
from meanet_jax.edge.results import Result
from meanet_jax.routing.rules import EXIT_NAMES, Comparison


def describe(result: Result, manifest: Manifest) -> str:
  """An answer as a line: class, exit, probability, what was compared with what, and time."""
  answer = result.answer
  what = result.item.path if result.item.path is not None else result.item.number
  sent = "complex" if answer.complex else "not complex"
  if result.fallback is not None:
    sent += f": the cloud is {result.fallback}"
  elif answer.complex and result.reply is None:
    sent += ": for the cloud"
  return (
    f"{what}: {manifest.class_names[result.prediction]}  exit {EXIT_NAMES[result.exit]}  "
    f"probability {result.probability:.3f}  hard-class probability {answer.hard_probability:.3f}  "
    f"{_compared(answer.compared, manifest)}{sent}  {1e3 * result.seconds:.3f} ms"
  )


def _compared(compared: Comparison | None, manifest: Manifest) -> str:
  if compared is None:
    return ""
  name, unit = {
    "entropy": ("entropy", " nats"),
    "max_prob": ("1 - probability", ""),
    "margin": ("1 - margin", ""),
    "learned": ("expected gain", ""),
  }[manifest.operating_point.policy.criterion]
  value, threshold = float(compared.uncertainty), float(compared.threshold)
  digits = 3
  # With the digits that distinguish them, because the text after them says which is larger.
  while value != threshold and f"{value:.{digits}f}" == f"{threshold:.{digits}f}" and digits < 50:
    digits += 1
  where = EXIT_NAMES[compared.exit]
  return f"{name} {value:.{digits}f}{unit} at {where}, threshold {threshold:.{digits}f}  "


def table(figures: dict[str, Any]) -> list[str]:
  """The figures for a person, line by line."""
  measured, model = figures["measured"], figures["cost_model"]
  as_sent = figures["cost_model_with_bytes_as_sent"]
  shares = ", ".join(f"{100 * share:.2f}% {name}" for name, share in figures["fraction"].items())
  lines = [
    f"{figures['images']} images in {figures['seconds']:.2f} s: {shares}; "
    f"{100 * figures['sent']:.2f}% sent"
  ]
  if figures["unreadable"]:
    lines.append(f"{figures['unreadable']} files could not be read")
  if figures["fallbacks"]:
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(figures["fallbacks"].items()))
    lines.append(f"answered by the edge in the cloud's place: {reasons}")
  if figures["monitored"]:
    found = ", ".join(f"{count} {name}" for name, count in sorted(figures["monitored"].items()))
    lines.append(f"sent to monitor agreement: {found}")
  if agreement := figures.get("agreement"):
    lines.append(
      f"agreement with the cloud {100 * agreement['share']:.2f}% of the last "
      f"{agreement['num_images']}, at 95% within {100 * agreement['lower']:.2f}% to "
      f"{100 * agreement['upper']:.2f}%" + (": below the floor" if agreement["alarm"] else "")
    )
  for name, budget in figures.get("budgets", {}).items():
    lines.append(f"{name} {budget['target']:g}: spent {budget['mean']:.4g} per image")
    if "price_paid" in budget:
      lines.append(
        f"{name}: paid {budget['price_paid']:.4g} in all, mean price {budget['mean_price']:.4g}"
      )
  if deadline := figures.get("deadline"):
    lines.append(f"withheld for the deadline of {deadline['ms']:g} ms: {deadline['withheld']}")
  if figures["accuracy"] is not None:
    lines.append(f"accuracy {100 * figures['accuracy']:.2f}%")
  lines += [
    f"{'per image':<12}{'measured':>12}{'cost model':>12}{'as sent':>12}",
    f"{'bytes up':<12}{measured['bytes_up']:>12.1f}{model['bytes_up']:>12.1f}"
    f"{as_sent['bytes_up']:>12.1f}",
    f"{'time [ms]':<12}{measured['service_ms']:>12.3f}{model['latency_ms']:>12.3f}"
    f"{as_sent['latency_ms']:>12.3f}",
    f"{'  p95':<12}{_number(measured['service_p95_ms']):>12}{model['latency_p95_ms']:>12.3f}"
    f"{as_sent['latency_p95_ms']:>12.3f}",
    f"{'and waiting':<12}{measured['latency_ms']:>12.3f}",
    f"{'  p95':<12}{_number(measured['latency_p95_ms']):>12}",
    f"{'energy [mJ]':<12}{'-':>12}{model['energy_mj']:>12.5f}{as_sent['energy_mj']:>12.5f}",
  ]
  return lines + _conclusion(figures["checks"] or [])


def _conclusion(checks: list[dict[str, Any]]) -> list[str]:
  """A line per failed assumption, or one that says that none did."""
  failed = [check["text"] for check in checks if check["failed"]]
  if failed:
    return [f"not as expected: {text}" for text in failed]
  judged = [check["text"] for check in checks if check["failed"] is False]
  return [f"as expected: {'; '.join(judged)}"] if judged else []


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.3f}"
