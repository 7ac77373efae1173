"""`meanet edge`: images in, answers out, a cloud asked where there is one."""

import argparse
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from meanet_jax.commands.edge_cloud import (
  ADAPTATION,
  AGREEMENT_FLOOR,
  connect,
  deadline_gate,
  online_adaptation,
)
from meanet_jax.commands.edge_dataset import from_dataset
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Images, Item, from_files, matching
from meanet_jax.edge.manifest import Manifest, read_manifest
from meanet_jax.edge.output import Output, error_line, to_line
from meanet_jax.edge.results import Result
from meanet_jax.edge.stream import Stream
from meanet_jax.edge.summary import Summary
from meanet_jax.edge.text import describe, table
from meanet_jax.errors import StreamStoppedError, UserError
from meanet_jax.images.decoding import ignore_pillow_warnings
from meanet_jax.paths import expanded_path
from meanet_jax.stdout import checked_stdout, open_closed_streams, say_on_stderr
from meanet_jax.stopping import stop_on_signals

_RANGES = {
  "threads": (1, 128),  # LiteRT dies of ten thousand
  "window": (1, 10_000),
  "attempts": (1, 1000),
  "deadline_ms": (1e-3, 1e7),
  "check_seconds": (1e-3, 1e4),
  "target_offload": (0, 1),
  "max_bytes_per_image": (0, 1e12),
  "max_energy_mj": (0, 1e12),
  "bandit": (0, 1),
  "monitor_agreement": (0, 1),
  "agreement_floor": (0, 1),
}


class _Parser(argparse.ArgumentParser):
  """One line on stderr for a wrong argument. absl, which the other commands use, is not here."""

  def error(self, message: str) -> NoReturn:
    raise UserError(f"{message}; see --help")


def _path(text: str) -> str:
  # Of image files, which are several arguments, the shell expands `~`.
  try:
    return expanded_path(text, "the path")
  except UserError as error:
    raise argparse.ArgumentTypeError(str(error)) from error


def main(arguments: Sequence[str]) -> int:
  """Answers the images; the exit status."""
  open_closed_streams()
  if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be UTF-8
    sys.stdout.reconfigure(errors="backslashreplace")
  ignore_pillow_warnings()
  try:
    with checked_stdout():
      _classify(_parse(arguments))
  except UserError as error:
    say_on_stderr(f"error: {error}")
    return error.status
  except KeyboardInterrupt:
    say_on_stderr("error: interrupted")
    return 130
  return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
  parser = _Parser(
    prog="python -m meanet_jax.edge.classifier",
    description="Classifies images with an exported edge, and sends complex ones to a cloud.",
    formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    allow_abbrev=False,
  )
  add = parser.add_argument
  add("--model", type=_path, required=True, help="what python -m meanet_jax.export wrote")
  add("--threads", type=int, default=1, help="of the interpreter")
  add("images", nargs="*", help="image files, of any size")
  add("--images", type=_path, dest="pattern", metavar="GLOB", help="image files by a pattern")
  add("--dataset", metavar="NAME", help="the test split of digits or of a prepared TFDS set")
  add("--data_dir", type=_path, metavar="DIR", help="where prepared sets lie")
  add("--output", type=_path, metavar="FILE", help="a JSON line per image, or - for stdout")
  add("--summary", type=_path, metavar="FILE", help="the figures at the end, as JSON")
  link = parser.add_argument_group("cloud")
  add = link.add_argument
  add("--cloud", metavar="URL", help="grpc://HOST:PORT, or grpcs://HOST:PORT for TLS")
  add(
    "--ca_file",
    type=_path,
    metavar="FILE",
    help="certificates to trust, PEM; the system's if not given",
  )
  add("--token_file", type=_path, metavar="FILE", help="bearer token")
  add("--encoding", default="raw", help="what is sent: raw, png, jpeg or jpeg:QUALITY")
  add("--window", type=int, default=16, help="images that may be under way")
  add("--deadline_ms", type=float, help="from taking an image up to its answer")
  add("--check_seconds", type=float, default=5.0, help="to find the cloud at the start")
  add("--attempts", type=int, default=3, help="to send one image by its deadline")
  budget = parser.add_argument_group("online adaptation (with --cloud)")
  add = budget.add_argument
  add("--target_offload", type=float, metavar="SHARE", help="of images sent, in the long run")
  add("--max_bytes_per_image", type=float, metavar="BYTES", help="sent, mean of all images")
  add("--max_energy_mj", type=float, metavar="MJ", help="by the cost model, mean of all images")
  add("--price_file", type=_path, metavar="FILE", help="CSV of time,price of what is sent")
  add("--bandit", type=float, metavar="COST", help="of offloading, in units of confidence")
  add(
    "--monitor_agreement",
    "--audit",
    type=float,
    metavar="SHARE",
    help="of confident images, sent and compared",
  )
  add(
    "--agreement_floor",
    "--audit_floor",
    type=float,
    metavar="SHARE",
    help=f"of agreement, at least ({AGREEMENT_FLOOR:g})",
  )
  given = parser.parse_args(arguments)
  ways = [bool(given.images), given.pattern is not None, given.dataset is not None]
  if sum(ways) != 1:
    raise UserError(
      f"{sum(ways)} of image files, --images and --dataset given; accepted: one of them"
    )
  for name, (low, high) in _RANGES.items():
    value = getattr(given, name)
    if value is not None and not low <= value <= high:  # also refuses NaN
      raise UserError(f"--{name} is {value:g}; accepted: {low:g} to {high:g}")
  if given.dataset is None and given.data_dir is not None:
    raise UserError("--data_dir without --dataset; accepted: with --dataset NAME")
  if given.monitor_agreement is None and given.agreement_floor is not None:
    raise UserError(
      "--agreement_floor without --monitor_agreement; accepted: with --monitor_agreement SHARE"
    )
  paths = [os.path.realpath(path) for path in (given.output, given.summary) if path is not None]
  if len(set(paths)) < len(paths):
    raise UserError(f"--output and --summary are both {given.output}; accepted: two files")
  if given.cloud is None:
    for name in ("ca_file", "token_file", *ADAPTATION):
      if getattr(given, name) is not None:
        raise UserError(f"--{name} without --cloud; accepted: with --cloud grpc://HOST:PORT")
  return given


def _classify(given: argparse.Namespace) -> None:
  manifest = read_manifest(given.model)
  if manifest.unmet_constraint is not None:
    say_on_stderr(
      f"warning: the thresholds of {given.model} do not meet: {manifest.unmet_constraint}"
    )
  images = _open_images(given, manifest)
  with ExitStack() as stack:
    offloader, adaptation = None, None
    if given.cloud is not None:
      offloader = connect(given, manifest)
      stack.callback(offloader.close)
      adaptation = online_adaptation(given, manifest, offloader.message_bytes)
    # Only now: the interpreter has a word of its own for stderr, where an error is to be alone.
    classifier = EdgeClassifier(given.model, num_threads=given.threads)
    gate = deadline_gate(given, classifier) if given.cloud is not None else None
    output = None if given.output is None else stack.enter_context(Output(given.output))
    summary = Summary()

    def give(answer: Result) -> None:
      summary.add(answer)
      if output is not None:
        output.write(to_line(answer, manifest))
      else:
        print(describe(answer, manifest), flush=True)

    def readable(stopped: Callable[[], signal.Signals | None]) -> Iterator[Item]:
      warned = False
      for item in images.items:
        if item.deep and not warned:
          warned = True
          say_on_stderr(
            f"warning: image {item.path} has more than 8 bits per channel; the upper 8 are used, "
            "of this and all such files"
          )
        if item.error is not None:
          summary.unreadable += 1
          if output is not None:
            output.write(error_line(item))
          if images.size == 1:
            raise UserError(item.error)
          say_on_stderr(f"warning: {item.error}")
        yield item
        if stopped():
          return

    begun = time.perf_counter()
    with stop_on_signals() as stopped:
      Stream(classifier, give, offloader, adaptation, gate).run(readable(stopped))
    figures = summary.figures(manifest, time.perf_counter() - begun)
    for part in (adaptation, gate):
      if part is not None:
        figures |= part.figures()
  _conclude(given, figures)
  if found := stopped():
    raise StreamStoppedError(
      found,
      f"after {figures['images']} of {images.size} images; every one that was begun has its answer",
    )


def _open_images(given: argparse.Namespace, manifest: Manifest) -> Images:
  if given.dataset is not None:
    return from_dataset(given.dataset, given.data_dir, manifest)
  paths = given.images or matching(given.pattern)
  return from_files(paths, manifest.image_shape, manifest.preprocessing)


def _conclude(given: argparse.Namespace, figures: dict[str, Any]) -> None:
  if figures["unreadable"] and not figures["images"]:
    raise UserError(f"none of {figures['unreadable']} files could be read; accepted: image files")
  if given.output is not None or figures["images"] + figures["unreadable"] > 1:
    # Beside answers for a program, stdout is not for people.
    print(*table(figures), sep="\n", file=sys.stderr if given.output == "-" else sys.stdout)
  if given.summary is not None:
    try:
      Path(given.summary).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
      raise UserError(
        f"--summary {given.summary} cannot be written: {error.strerror}; accepted: a writable file"
      ) from error
