"""Archives that are on disk already: checked against TFDS's record, and used without a network."""

import dataclasses
import hashlib
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import tensorflow_datasets as tfds

from meanet_jax import log
from meanet_jax.errors import UserError

BLOCK = 1 << 22  # bytes


def check_archives(
  directory: Path, stock: Any, known: dict[str, Any], accepted: Sequence[str]
) -> dict[str, Any]:
  """TFDS's record of archives by URL, corrected for those whose other checksum is accepted.

  Args:
    directory: where the archives lie, under the names that their URLs end with.
    stock: the set's builder.
    known: its record: URL to size, sha256 and file name.
    accepted: sha256 sums.

  Raises:
    UserError: a directory or an archive that is missing, or one whose checksum differs.
  """
  if not directory.is_dir():
    raise UserError(f"flag --archives is {str(directory)!r}; accepted: a directory")
  paths = {url: directory / file_name(url, info) for url, info in known.items()}
  if stock.MANUAL_DOWNLOAD_INSTRUCTIONS:
    # Such a builder would leave out the split of a missing archive without a word.
    for path in paths.values():
      _require(path)
  record, differing = {}, {}
  for url, info in known.items():
    path = paths[url]
    if path.is_file():
      size, digest = path.stat().st_size, _sha256(path)
      if digest not in (info.checksum, *(sum.lower() for sum in accepted)):
        differing[digest] = f"{path.name} has sha256 {digest}, TFDS recorded {info.checksum}"
      info = dataclasses.replace(
        info, size=tfds.core.utils.Size(size), checksum=digest, filename=path.name
      )
    record[url] = info
  if differing:
    flags = " ".join(f"--accept-checksum {digest}" for digest in differing)
    raise UserError(
      f"in {directory}, {'; '.join(differing.values())}; "
      f"accepted: the recorded archives, or these with {flags}"
    )
  return record


def file_name(url: str, info: Any) -> str:
  """An archive's name: as recorded, or the end of its URL."""
  return info.filename or Path(urllib.parse.urlparse(url).path).name


class OfflineManager(tfds.download.DownloadManager):
  """Takes every archive from the directory of archives, and refuses those that are not there."""

  def download(self, url_or_urls: Any) -> Any:
    """As its base; raises UserError for an archive that is missing."""
    self._require_all(url_or_urls)
    return super().download(url_or_urls)

  def download_and_extract(self, url_or_urls: Any) -> Any:
    """As its base; raises UserError for an archive that is missing."""
    self._require_all(url_or_urls)
    return super().download_and_extract(url_or_urls)

  def _require_all(self, urls: Any) -> None:
    for resource in jax.tree.leaves(urls):
      url = getattr(resource, "url", resource)
      info = self._url_infos.get(url)
      name = file_name(url, info) if info else Path(urllib.parse.urlparse(url).path).name
      _require(Path(self._manual_dir or "") / name)


def _require(path: Path) -> None:
  if not path.is_file():
    raise UserError(f"{path} is missing; accepted: the original archive under this name")


def _sha256(path: Path) -> str:
  digest = hashlib.sha256()
  with (
    path.open("rb") as file,
    log.progress(f"checking {path.name}", path.stat().st_size) as advance,
  ):
    while block := file.read(BLOCK):
      digest.update(block)
      advance(len(block), "")
  return digest.hexdigest()
