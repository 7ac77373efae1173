"""Prepares a TFDS set, from downloads or from its original archives.

TFDS's own builder does the work and needs TensorFlow (extra `prepare`). Nothing else here does.
"""

import contextlib
import errno
import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from meanet_jax.data.tfds.archives import OfflineManager, check_archives
from meanet_jax.data.tfds.names import (
  SetName,
  parse_name,
  set_path,
  stock_builder,
  with_stock_parts,
)
from meanet_jax.errors import UserError
from meanet_jax.log import logger

PARTIAL = ".preparing-"  # directories of this prefix hold what is not complete


def prepare(
  text: str,
  data_dir: str | Path,
  archives: str | Path | None = None,
  accepted: Sequence[str] = (),
  replace: bool = False,
) -> Path:
  """Downloads and prepares a set in array_record format, or does nothing if it is there.

  Everything is made in a directory of its own, which is renamed once it is complete.

  Args:
    text: NAME[/CONFIG][:VERSION].
    data_dir: where prepared sets lie; made when missing.
    archives: a directory with the original archives; nothing is downloaded then.
    accepted: sha256 sums of archives that may differ from TFDS's record.
    replace: prepare a set that is there once more, and put the new one in its place.

  Returns:
    The directory of the set.

  Raises:
    UserError: a set or version that TFDS does not know, archives that are missing, altered or
      damaged, a failed download, or a disk that is full.
  """
  name = with_stock_parts(parse_name(text))
  stock = stock_builder(name)
  if stock is None:
    raise UserError(
      f"{name} is not known to tensorflow-datasets {tfds.__version__}; accepted: one of its sets"
    )
  versions = {with_stock_parts(name._replace(version=None)).version}
  versions |= {str(version) for version in stock.SUPPORTED_VERSIONS}
  if name.version not in versions:
    raise UserError(
      f"{name} is a version that tensorflow-datasets {tfds.__version__} cannot prepare; "
      f"accepted: {', '.join(sorted(versions))}"
    )
  root = Path(data_dir).absolute()
  target = set_path(name, root)
  if (target / "dataset_info.json").is_file() and not replace:
    logger.info(f"{name} is already in {root}")
    return target
  _require_tensorflow()
  if archives is None and stock.MANUAL_DOWNLOAD_INSTRUCTIONS:
    instructions = " ".join(stock.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
    raise UserError(f"flag --archives is missing; {name} cannot be downloaded: {instructions}")
  known = stock.url_infos or {}
  if archives is not None:
    archives = Path(archives).absolute()
    known = check_archives(archives, stock, known, accepted)
  logger.info(f"preparing {name} in {root}")
  with _one_line(name, root), _work_directory(root) as work:
    builder = _builder_class(stock, known, offline=archives is not None)(
      data_dir=work, config=name.config, version=name.version, file_format="array_record"
    )
    builder.download_and_prepare(
      # Downloads are kept: what was interrupted is not downloaded again.
      download_dir=root / "downloads" if archives is None else work / "downloads",
      download_config=tfds.download.DownloadConfig(
        manual_dir=archives, extract_dir=work / "extracted"
      ),
    )
    _put_in_place(set_path(name, work), target, work / "replaced")
  sizes = ", ".join(f"{split.num_examples} {key}" for key, split in builder.info.splits.items())
  logger.info(f"prepared {name} in {root}: {sizes}")
  return target


def _builder_class(stock: Any, known: dict[str, Any], offline: bool) -> Any:
  """The stock builder with other checksums, and without network when `offline`."""

  class Prepared(stock, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues]
    name = stock.name
    url_infos = known

    def _make_download_manager(self, download_dir: Any, download_config: Any) -> Any:
      if not offline:
        return super()._make_download_manager(download_dir, download_config)
      return OfflineManager(
        download_dir=download_dir,
        extract_dir=download_config.extract_dir,
        manual_dir=download_config.manual_dir,
        manual_dir_instructions=stock.MANUAL_DOWNLOAD_INSTRUCTIONS,
        url_infos=known,
        dataset_name=stock.name,
      )

  # TFDS looks for a set's metadata beside its module.
  Prepared.__module__ = stock.__module__
  return Prepared


def _require_tensorflow() -> None:
  if importlib.util.find_spec("tensorflow") is None:
    raise UserError(
      "preparing a data set needs TensorFlow, which is not installed; "
      "accepted: pip install 'meanet_jax[prepare]'"
    )
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _one_line(name: SetName, root: Path) -> Iterator[None]:
  """Turns whatever TFDS, TensorFlow or the disk raise into one line."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    text = " ".join(str(error).split())
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text
    if full or "Not enough disk space" in text:
      raise UserError(f"{root} is full, {name} was not prepared; accepted: free space") from error
    raise UserError(
      f"{name} was not prepared: {type(error).__name__}: {text[:500] or 'no message'}; "
      "accepted: the set's original, complete archives"
    ) from error


@contextlib.contextmanager
def _work_directory(root: Path) -> Iterator[Path]:
  """A directory under `root` that is gone afterwards, as are those that dead processes left."""
  root.mkdir(parents=True, exist_ok=True)
  for left in root.glob(f"{PARTIAL}*"):
    with contextlib.suppress(OSError), _locked(left):
      shutil.rmtree(left, ignore_errors=True)
  work = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=root))
  try:
    with _locked(work):
      yield work
  finally:
    shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
  """Holds the lock of a work directory; an OSError if a living process does."""
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield
  finally:
    os.close(descriptor)


def _put_in_place(made: Path, target: Path, replaced: Path) -> None:
  target.parent.mkdir(parents=True, exist_ok=True)
  if target.exists():
    target.replace(replaced)
  made.replace(target)
