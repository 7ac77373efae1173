"""The cloud's side of `meanet edge`, from its flags: link, online adaptation, deadline."""

import argparse
import os
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from meanet_jax.commands.flags import Flags, add_number, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.deadline_gate import DeadlineGate, edge_seconds
from meanet_jax.edge.link.encoding import check_channels, parse_encoding
from meanet_jax.edge.manifest import Manifest
from meanet_jax.edge.online import OnlineAdaptation
from meanet_jax.edge.online_constraints import OnlineConstraints, PriceClock
from meanet_jax.errors import UserError
from meanet_jax.protocol import classes_digest
from meanet_jax.routing.online.agreement import Agreement, AgreementMonitor
from meanet_jax.routing.online.deadline import Deadline
from meanet_jax.routing.online.price import check_start, from_prices, read_prices
from meanet_jax.stdout import say_on_stderr

# Flags that need a cloud: those of `add_address_flags`, and of online adaptation.
ADDRESS = ("ca_file", "token_file", "encoding", "check_seconds")
ADAPTATION = (
  "target_offload",
  "max_bytes_per_image",
  "max_energy_mj",
  "price_file",
  "bandit",
  "monitor_agreement",
)
# Of flags that are not given.
ENCODING, CHECK_SECONDS, WINDOW, ATTEMPTS = "raw", 5.0, 16, 3
AGREEMENT_FLOOR = AgreementMonitor._field_defaults["floor"]


class Link(NamedTuple):
  """offloader: an `Offloader`. address: as printed. unreachable: why, if it cannot be asked."""

  offloader: Any
  address: str
  unreachable: str | None


def add_address_flags(flags: Flags) -> None:
  """Adds what `open_link` reads, but for --window and --attempts."""
  flags.add_argument(
    "--cloud", metavar="URL", help="grpc://HOST:PORT, or grpcs://HOST:PORT for TLS"
  )
  add_path(
    flags,
    "--ca-file",
    metavar="FILE",
    help="certificates to trust, PEM; the system's if not given",
  )
  add_path(flags, "--token-file", metavar="FILE", help="bearer token")
  flags.add_argument(
    "--encoding", help="what is sent: raw, png, jpeg or jpeg:QUALITY; raw if not given"
  )
  add_number(
    flags,
    "--check-seconds",
    Range(1e-3, 1e4),
    help=f"to find the cloud at the start; {CHECK_SECONDS:g} if not given",
  )


def refuse_without_cloud(given: argparse.Namespace, names: Iterable[str]) -> None:
  """Refuses flags that say nothing without --cloud.

  Raises:
    UserError: one of them was given.
  """
  for name in names:
    if given.cloud is None and getattr(given, name) is not None:
      flag = f"--{name.replace('_', '-')}"
      raise UserError(f"{flag} without --cloud; accepted: with --cloud grpc://HOST:PORT")


def connect(flags: argparse.Namespace, manifest: Manifest) -> Any:
  """An `Offloader` whose server was checked. A server that cannot be reached may come back.

  Raises:
    UserError: no gRPC here; a server that refuses this device, or is another.
  """
  link = open_link(flags, manifest)
  if link.unreachable is not None:
    say_on_stderr(f"warning: {link.address} {link.unreachable}; the edge answers until it can")
    link.offloader.open_circuit()
  return link.offloader


def open_link(flags: argparse.Namespace, manifest: Manifest) -> Link:
  """The way to the server of --cloud, which was checked.

  Raises:
    UserError: no gRPC here; a server that refuses this device, or is another.
  """
  # Without gRPC's own log, an error is one line on stderr. gRPC reads this when it starts.
  os.environ.setdefault("GRPC_VERBOSITY", "NONE")
  try:
    from meanet_jax.edge.link.connection import Expected, check, parse_address
    from meanet_jax.edge.link.offload import Offloader, RetryPolicy
  except ModuleNotFoundError as error:
    raise UserError(
      f"--cloud needs {error.name}, which is not installed; "
      "accepted: pip install 'tritonclient[grpc]' tenacity pybreaker"
    ) from error
  address = parse_address(flags.cloud, flags.ca_file, flags.token_file)
  encoding = parse_encoding(_given(flags.encoding, ENCODING))
  check_channels(encoding, manifest.image_shape[2])
  expected = Expected(
    manifest.image_shape,
    len(manifest.class_names),
    classes_digest(manifest.class_names),
    encoding,
    manifest.operating_point.policy.cloud_rule == "fused",
  )
  checked = check(address, expected, _given(flags.check_seconds, CHECK_SECONDS))
  expected = expected._replace(logits=expected.logits and checked.logits)
  retry_policy = RetryPolicy(attempts=_given(flags.attempts, ATTEMPTS))
  offloader = Offloader(address, expected, _given(flags.window, WINDOW), retry_policy)
  return Link(offloader, str(address), checked.unreachable)


def _given(value: Any, otherwise: Any) -> Any:
  return otherwise if value is None else value


def deadline_gate(flags: argparse.Namespace, classifier: EdgeClassifier) -> DeadlineGate | None:
  """The gate of `--deadline-ms`; None without it.

  Raises:
    UserError: a deadline that the edge alone cannot meet.
  """
  if flags.deadline_ms is None:
    return None
  return DeadlineGate(Deadline(flags.deadline_ms / 1e3), edge_seconds(classifier))


def online_adaptation(
  flags: argparse.Namespace, manifest: Manifest, message_bytes: int
) -> OnlineAdaptation | None:
  """What the flags ask of the stream's thresholds; None for nothing.

  Args:
    flags: of the command.
    manifest: of the export.
    message_bytes: that one raw image sends.

  Raises:
    UserError: constraints that cannot be kept, or a price file that is refused.
  """
  if all(getattr(flags, name) is None for name in ADAPTATION):
    return None
  floor = AGREEMENT_FLOOR if flags.agreement_floor is None else flags.agreement_floor
  share = flags.monitor_agreement
  constraints = OnlineConstraints(
    target_offload=flags.target_offload,
    max_bytes=flags.max_bytes_per_image,
    max_energy_mj=flags.max_energy_mj,
    bandit=flags.bandit,
    agreement=None if share is None else AgreementMonitor(share, floor),
    price=None if flags.price_file is None else _price_clock(flags.price_file),
  )

  def alarm(found: Agreement) -> None:
    say_on_stderr(
      f"warning: {found.num_images} monitored answers agree with the cloud in {found.share:.1%}, "
      f"below {floor:.1%} for certain ({found.lower:.1%} to {found.upper:.1%})"
    )

  return OnlineAdaptation(manifest, constraints, message_bytes, alarm)


def _price_clock(path: str) -> PriceClock:
  """Prices by the wall clock where the file has dates, by the stream's own where it has seconds."""
  prices, begun = read_prices(path), time.monotonic()

  def now() -> float:
    # A wall clock may be set back to before the first row.
    return max(time.time(), prices.times[0]) if prices.dated else time.monotonic() - begun

  check_start(prices, f"the price file {path}", time.time() if prices.dated else 0.0)
  return PriceClock(from_prices(prices), now)
