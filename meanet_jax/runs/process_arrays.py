"""NumPy arrays of checkpoints that a process other than 0 writes for itself.

Orbax takes a NumPy array to be the same in all processes and has process 0 write it: elsewhere a
checkpoint would have its name and checksums, and no array.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from orbax.checkpoint.future import CommitFutureAwaitingContractedSignals

_handlers = ocp.type_handlers


class _WrittenHere(_handlers.NumpyHandler):
  """Orbax's handler, but for the process that writes. Arrays must not change while it does."""

  async def serialize(
    self, values: Sequence[np.ndarray], infos: Sequence[Any], args: Sequence[Any] | None = None
  ) -> Sequence[Any]:
    """Begins to write, in Orbax's own thread."""
    asked = args or [ocp.SaveArgs()] * len(values)
    return [CommitFutureAwaitingContractedSignals(_write(values, infos, asked), name="arrays")]


async def _write(values: Sequence[np.ndarray], infos: Sequence[Any], args: Sequence[Any]) -> None:
  async def write(value: np.ndarray, info: Any, arg: Any) -> None:
    await info.await_path_creation()
    spec = _handlers.get_json_tspec_write(
      info,
      use_ocdbt=info.is_ocdbt_checkpoint,
      global_shape=value.shape,
      local_shape=value.shape,
      dtype=value.dtype,
      process_index=jax.process_index(),
      arg=arg,
    )
    array = await ts.open(ts.Spec(spec), create=True, open=True, context=info.ts_context)
    await array.write(value)

  await asyncio.gather(*map(write, values, infos, args))


def write_arrays_here() -> None:
  """Has this process write the arrays of its checkpoints; process 0 does so by itself."""
  present = _handlers.get_type_handler(np.ndarray)
  if jax.process_index() and not isinstance(present, _WrittenHere):
    _handlers.register_type_handler(np.ndarray, _WrittenHere(), override=True)
