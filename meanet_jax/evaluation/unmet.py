"""Entries of summary.json whose operating point breaks the constraints."""

from typing import Any


def unmet_entry(unmet: str) -> dict[str, str]:
  """What a system's entry in summary.json has where its operating point breaks the constraints."""
  return {"unmet": unmet, "wish_unmet": unmet}  # under its earlier name as well


def unmet_constraint(entry: dict[str, Any]) -> str | None:
  """Why the thresholds of a system's entry in summary.json break the constraints; None: kept."""
  return entry.get("unmet")


def unmet_lines(entries: dict[str, dict[str, Any]]) -> list[str]:
  """A line for each system, by name, whose thresholds break the constraints."""
  found = {name: unmet_constraint(entry) for name, entry in entries.items()}
  return [f"{name}: {unmet}" for name, unmet in found.items() if unmet is not None]
