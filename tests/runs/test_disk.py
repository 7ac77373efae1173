"""A full disk is one line, whichever writer meets it."""

import asyncio
import errno
import gc
import os

import pytest

from meanet_jax.errors import UserError
from meanet_jax.runs.disk import full_disk_in_one_line

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
# As TensorStore names the system's errors.
NAMED = 'Error writing "a/manifest.ocdbt": Failed to write to file [OS error {}: {}]'
ENDS = [
  FULL,
  OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
  ValueError(NAMED.format(28, "No space left on device")),
  ValueError(NAMED.format(122, "Disk quota exceeded")),
]


async def fail(error: Exception) -> None:
  raise error


async def drop_unawaited(error: Exception) -> None:
  """Ends with a failed task that nobody has awaited."""
  task = asyncio.create_task(fail(error))
  await asyncio.sleep(0)
  assert task.done()


@pytest.mark.parametrize("error", ENDS)
def test_a_full_disk_is_named_with_the_path(error, tmp_path):
  message = f"^the disk of {tmp_path} is full"
  with pytest.raises(UserError, match=message), full_disk_in_one_line(tmp_path):
    raise error


def test_another_error_passes_as_it_is(tmp_path):
  with pytest.raises(ValueError, match=r"^other$"), full_disk_in_one_line(tmp_path):
    raise ValueError("other")


def test_of_failed_tasks_only_other_errors_are_logged(tmp_path, caplog):
  with full_disk_in_one_line(tmp_path):
    asyncio.run(drop_unawaited(FULL))
    gc.collect()
    assert not caplog.records
    asyncio.run(drop_unawaited(ValueError("other")))
    gc.collect()
  assert [str(record.exc_info[1]) for record in caplog.records] == ["other"]
