"""Compilation groups as Ray tasks: Ray shares them out, and begins a lost one again.

It goes on from the newest checkpoints of its trials.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from meanet_jax import log
from meanet_jax.accelerators import skip_absent_tpu
from meanet_jax.config.grid import RayConfig
from meanet_jax.config.parsing import to_json
from meanet_jax.errors import TrainingStoppedError, UserError
from meanet_jax.grid.compilation_groups import CompilationGroup
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.points import Point, Settings
from meanet_jax.log import logger
from meanet_jax.stopping import never

SECONDS_BETWEEN_LOOKS = 0.5


class RayExecutor:
  """Trains compilation groups on a cluster whose machines share the grid's directory."""

  def __init__(self, context: GridContext):
    """Refuses what is missing, or cannot be read, before anything begins.

    Args:
      context: of the grid; its `stop` is asked while tasks run.

    Raises:
      UserError: Ray is not installed, or resources that are none.
    """
    self._ray, self._resources = _import_ray(), parse_resources(context.grid.ray.resources)
    self._context = context

  def __call__(self, groups: Sequence[CompilationGroup]) -> None:
    """Trains every compilation group to its end.

    Raises:
      UserError: no cluster, or what a task raised.
      TrainingStoppedError: `stop` said so; checkpoints hold what was reached.
    """
    ray = self._ray
    began = not ray.is_initialized()
    if began:
      _connect(ray, self._context.grid.ray)
    try:
      self._run(ray, groups)
    finally:
      if began:
        ray.shutdown()

  def _run(self, ray: Any, groups: Sequence[CompilationGroup]) -> None:
    settings = self._context.grid.ray
    task = ray.remote(train_task)
    pending = {}
    for group in groups:
      for points in _parts(group, settings.points_per_task):
        described = [(p.number, p.settings, to_json(p.config)) for p in points]
        name = f"trials {points[0].name} to {points[-1].name}"
        named = task.options(
          name=name,
          num_cpus=settings.num_cpus,
          num_gpus=settings.num_gpus,
          resources=self._resources,
          max_retries=settings.max_retries,
          retry_exceptions=False,  # what a task raises, it would raise again
        )
        # A task is cancelled from here; what asks this process to stop cannot be pickled.
        handle = named.remote(described, dataclasses.replace(self._context, stop=never))
        pending[handle] = name
    while pending:
      done, _ = ray.wait(list(pending), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
      for handle in done:
        name = pending.pop(handle)
        self._result(ray, handle, name)
        logger.info(f"{name}: done, {len(pending)} tasks left")
      if pending and (asked := self._context.stop()):
        for handle in pending:
          ray.cancel(handle, force=True)
        raise TrainingStoppedError(
          asked, "in the middle; the same command goes on from the trials' last checkpoints"
        )

  def _result(self, ray: Any, handle: Any, name: str) -> None:
    try:
      ray.get(handle)
    except ray.exceptions.RayTaskError as error:
      if isinstance(error.cause, UserError):
        raise error.cause from error
      raise
    except ray.exceptions.WorkerCrashedError as error:
      raise UserError(
        f"{name}: its worker was lost more than {self._context.grid.ray.max_retries} times; "
        "accepted: workers that stay (ray.max_retries), and the same command again"
      ) from error


def train_task(points: list[tuple[int, Settings, dict[str, Any]]], context: GridContext) -> None:
  """Trains points of one compilation group in a worker.

  What an earlier attempt has finished is left alone.
  """
  # In the worker: the process that hands out tasks need not have read the data.
  from meanet_jax.config.parsing import resolve
  from meanet_jax.data.sources import load
  from meanet_jax.grid.train import train_points

  skip_absent_tpu()
  resolved = [Point(number, settings, resolve(config)) for number, settings, config in points]
  log.to_console()
  dataset = load(resolved[0].config.dataset, context.options)
  train_points(resolved, dataset, context)


def parse_resources(resources: Sequence[str]) -> dict[str, float]:
  """NAME=AMOUNT texts as Ray takes them.

  Raises:
    UserError: one that is none.
  """
  found = {}
  for text in resources:
    name, _, amount = text.partition("=")
    try:
      found[name.strip()] = float(amount)
    except ValueError:
      name = ""
    if not name.strip():
      raise UserError(f"grid.ray.resources has {text!r}; accepted: NAME=AMOUNT, as in TPU=4")
  return found


def _parts(group: CompilationGroup, size: int) -> list[tuple[Point, ...]]:
  size = size or len(group.points)
  return [group.points[start : start + size] for start in range(0, len(group.points), size)]


def _import_ray() -> Any:
  try:
    import ray
  except ImportError as error:
    raise UserError(
      "flag --executor: ray is not installed; accepted: pip install 'meanet_jax[ray]'"
    ) from error
  return ray


def _connect(ray: Any, settings: RayConfig) -> None:
  try:
    ray.init(
      address=settings.address or "local", include_dashboard=False if not settings.address else None
    )
  except (ConnectionError, ValueError, RuntimeError) as error:
    first = str(error).strip().splitlines()[0]
    raise UserError(
      f"grid.ray.address is {settings.address!r}: {first}; accepted: a running cluster's address, "
      "or none for one of this machine"
    ) from error
