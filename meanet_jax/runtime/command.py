"""`python -m meanet_jax.runtime.edge`: classifies image files for a person."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from meanet_jax.errors import UserError
from meanet_jax.runtime.edge import Answer, EdgeClassifier
from meanet_jax.runtime.images import read_image
from meanet_jax.runtime.manifest import Manifest, read_manifest

EXIT_NAMES = ("main", "extension", "cloud")


class _Parser(argparse.ArgumentParser):
  """One line on stderr for a wrong argument. absl, which the other commands use, is not here."""

  def error(self, message: str) -> NoReturn:
    raise UserError(f"{message}; see --help")


def main(arguments: Sequence[str]) -> int:
  """Prints a line per image; the exit status."""
  try:
    _classify(arguments)
  except UserError as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return error.status
  return 0


def _classify(arguments: Sequence[str]) -> None:
  parser = _Parser(
    prog="python -m meanet_jax.runtime.edge",
    description="Classifies images with an exported edge, and tells which of them are complex.",
  )
  parser.add_argument("--model", required=True, help="what python -m meanet_jax.export wrote")
  parser.add_argument("--threads", type=int, default=1, help="of the interpreter (default: 1)")
  parser.add_argument("images", nargs="+", help="image files, of any size")
  given = parser.parse_args(arguments)
  if given.threads < 1:
    raise UserError(f"--threads is {given.threads}; accepted: at least 1")
  shape = read_manifest(given.model).image_shape
  images = np.stack([read_image(path, shape) for path in given.images])
  classifier = EdgeClassifier(given.model, num_threads=given.threads)
  for path, answer in zip(given.images, classifier.classify(images), strict=True):
    print(f"{path}: {describe(answer, classifier.manifest)}", flush=True)


def describe(answer: Answer, manifest: Manifest) -> str:
  """An answer as a line: class, exit, its scores, complexity and time."""
  scores = answer.scores
  return (
    f"{manifest.class_names[answer.prediction]}  exit {EXIT_NAMES[answer.exit]}  "
    f"probability {scores.max_prob:.3f}  margin {scores.margin:.3f}  "
    f"entropy {scores.entropy:.3f} nats  hard-class probability {answer.hard_probability:.3f}  "
    f"{'complex: for the cloud' if answer.complex else 'not complex'}  "
    f"{1e3 * answer.seconds:.3f} ms"
  )
