"""Classifies images with an exported edge, and sends complex ones to a cloud if there is one.

meanet edge --model runs/digits/export [--cloud grpc://HOST:PORT] image.png ...
meanet edge --model runs/digits/export --check
"""

import argparse
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from meanet_jax.commands.cost_flags import add_cost_flags, cost_changes
from meanet_jax.commands.edge_cloud import (
  ADAPTATION,
  ADDRESS,
  AGREEMENT_FLOOR,
  ATTEMPTS,
  WINDOW,
  add_address_flags,
  connect,
  deadline_gate,
  online_adaptation,
  refuse_without_cloud,
)
from meanet_jax.commands.edge_dataset import from_dataset
from meanet_jax.commands.flags import (
  Flags,
  Parser,
  add_integer,
  add_number,
  add_path,
  add_switch,
  require,
)
from meanet_jax.config.ranges import Range
from meanet_jax.cost.changes import unread_warning
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Images, Item, from_files, matching
from meanet_jax.edge.manifest import Manifest, read_manifest
from meanet_jax.edge.output import Output, error_line, to_line
from meanet_jax.edge.results import Result
from meanet_jax.edge.stream import Stream
from meanet_jax.edge.summary import Summary
from meanet_jax.edge.test_vectors import TEST_VECTORS, check_test_vectors, describe_ends
from meanet_jax.edge.text import describe, table
from meanet_jax.errors import StreamStoppedError, UserError
from meanet_jax.files import check_writable, write_json, writing
from meanet_jax.images.decoding import ignore_pillow_warnings
from meanet_jax.stdout import say_on_stderr
from meanet_jax.stopping import stop_on_signals


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  parser.add_argument("images", metavar="IMAGE", nargs="*", help="image files, of any size")
  add_path(parser, "--model", metavar="DIR", help="what `meanet export` wrote")
  # LiteRT dies of ten thousand.
  add_integer(parser, "--threads", Range(1, 128), default=1, help="of the interpreter")
  add_switch(parser, "--check", "classify the images of edge_test.json and compare every step")
  # Of image files, which are several arguments, the shell expands `~`.
  add_path(parser, "--images", dest="pattern", metavar="GLOB", help="image files by a pattern")
  parser.add_argument(
    "--dataset", metavar="NAME", help="the test split of digits or of a prepared TFDS set"
  )
  add_path(parser, "--data-dir", metavar="DIR", help="where prepared sets lie")
  add_path(parser, "--output", metavar="FILE", help="a JSON line per image, or - for stdout")
  add_path(parser, "--summary", metavar="FILE", help="the figures at the end, as JSON")
  add_cost_flags(parser, "those of the export, for the figures at the end")
  _add_cloud_flags(parser.add_argument_group("cloud"))
  _add_adaptation_flags(parser.add_argument_group("online adaptation (with --cloud)"))


def _add_cloud_flags(flags: Flags) -> None:
  add_address_flags(flags)
  add_integer(
    flags,
    "--window",
    Range(1, 10_000),
    help=f"images that may be under way; {WINDOW} if not given",
  )
  add_number(
    flags,
    "--deadline-ms",
    Range(1e-3, 1e7),
    help="from taking an image up to its answer",
  )
  add_integer(
    flags,
    "--attempts",
    Range(1, 1000),
    help=f"to send one image by its deadline; {ATTEMPTS} if not given",
  )


def _add_adaptation_flags(flags: Flags) -> None:
  share, amount = Range(0, 1), Range(0, 1e12)
  add_number(
    flags, "--target-offload", share, metavar="SHARE", help="of images sent, in the long run"
  )
  add_number(
    flags, "--max-bytes-per-image", amount, metavar="BYTES", help="sent, mean of all images"
  )
  add_number(
    flags, "--max-energy-mj", amount, metavar="MJ", help="by the cost model, mean of all images"
  )
  add_path(flags, "--price-file", metavar="FILE", help="CSV of time,price of what is sent")
  add_number(flags, "--bandit", share, metavar="COST", help="of offloading, in units of confidence")
  add_number(
    flags,
    "--monitor-agreement",
    share,
    older="--audit",
    metavar="SHARE",
    help="of confident images, sent and compared",
  )
  add_number(
    flags,
    "--agreement-floor",
    share,
    older="--audit-floor",
    metavar="SHARE",
    help=f"of agreement, at least ({AGREEMENT_FLOOR:g})",
  )


def run(given: argparse.Namespace) -> None:
  """Answers the images."""
  if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be UTF-8
    sys.stdout.reconfigure(errors="backslashreplace")
  ignore_pillow_warnings()
  _check(given)
  if given.check:
    found = check_test_vectors(given.model, given.threads)
    print(f"{Path(given.model) / TEST_VECTORS}: {describe_ends(found)}")
  else:
    _classify(given)


def _check(given: argparse.Namespace) -> None:
  """Refuses flags that do not go together."""
  require(given.model, "--model", "a directory that `meanet export` wrote")
  refuse_without_cloud(given, (*ADDRESS, "window", "deadline_ms", "attempts", *ADAPTATION))
  ways = [bool(given.images), given.pattern is not None, given.dataset is not None]
  if given.check:
    if sum(ways):
      raise UserError("--check with images; accepted: --check alone, for those of edge_test.json")
    others = ("data_dir", "output", "summary", "cloud", "agreement_floor")
    beside = [name for name in others if getattr(given, name) is not None]
    if beside := beside + [f"cost.{name}" for name in cost_changes(given)]:
      flag = f"--{beside[0].replace('_', '-')}"
      raise UserError(f"--check with {flag}; accepted: --check alone, which prints a line")
    return
  if sum(ways) != 1:
    raise UserError(
      f"{sum(ways)} of image files, --images and --dataset given; accepted: one of them"
    )
  if given.dataset is None and given.data_dir is not None:
    raise UserError("--data-dir without --dataset; accepted: with --dataset NAME")
  if given.monitor_agreement is None and given.agreement_floor is not None:
    raise UserError(
      "--agreement-floor without --monitor-agreement; accepted: with --monitor-agreement SHARE"
    )
  paths = [os.path.realpath(path) for path in (given.output, given.summary) if path is not None]
  if len(set(paths)) < len(paths):
    raise UserError(f"--output and --summary are both {given.output}; accepted: two files")
  if given.summary is not None:
    check_writable(Path(given.summary), "--summary")


def _classify(given: argparse.Namespace) -> None:
  exported, changes = read_manifest(given.model), cost_changes(given)
  manifest = exported.at_costs(changes)
  if unread := unread_warning(changes, exported.cost, exported.profile):
    say_on_stderr(f"warning: {unread}")
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
    summary = Summary(adapts=adaptation is not None and adaptation.moves_thresholds)

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
    with writing(f"--summary {given.summary}", "a writable file"):
      write_json(Path(given.summary), figures)
