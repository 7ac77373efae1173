"""Evaluates finished runs: python eval.py --workdir runs/digits [--max-offload 0.1].

Several --workdir are evaluated where needed and compared: mean and spread over runs.
"""

import dataclasses

from absl import flags

from meanet_jax import log
from meanet_jax.commands import flags as cli
from meanet_jax.commands import launch
from meanet_jax.devices import check_devices
from meanet_jax.evaluation.pipeline import configured_constraints, evaluate
from meanet_jax.report.compare import compare
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.selection.select import Constraints

_options = cli.define_read_flags()
_use_compilation_cache = launch.define_compilation_cache_flag()
_WORKDIRS = cli.define_path_flags("workdir", [], "A run that train.py finished; repeatable.")
_OUTPUT = cli.define_path_flag("output", "runs/comparison", "Where several runs are compared.")
_REUSE = flags.DEFINE_boolean(
  "reuse_records", False, "Read the records of an earlier evaluation; run no network."
)
_WISH = {
  name: flags.DEFINE_float(name.replace("_", "-"), None, help, lower_bound=low, upper_bound=high)
  for name, help, low, high in (
    ("max_offload", "Largest share of images sent to the cloud.", 0, 1),
    ("max_energy_mj", "Largest mean energy on the edge per image, in millijoules.", 0, None),
    ("max_latency_ms", "Largest mean latency per image, in milliseconds.", 0, None),
    ("min_accuracy", "Smallest accuracy; the fewest offloads that keep it are chosen.", 0, 1),
    ("offload_penalty", "Accuracy that one offloaded image has to be worth.", 0, None),
    ("confidence", "With which the wish holds on new images.", 0.5, 0.999999),
  )
}


def main() -> None:
  """Reads the flags and evaluates."""
  log.to_console()
  if not _WORKDIRS.value:
    cli.require(None, "workdir", "the directory of a run")
  check_devices()
  _use_compilation_cache()
  asked = {name: flag.value for name, flag in _WISH.items() if flag.value is not None}
  alone = len(_WORKDIRS.value) == 1
  for workdir in _WORKDIRS.value:
    run = RunDirectory.existing(workdir)
    constraints = Constraints(**asked)
    if set(asked) <= {"confidence"}:  # of the wish that the run was configured with
      constraints = dataclasses.replace(configured_constraints(run.config()), **asked)
    done = (run.eval_path / "summary.json").exists()
    if alone or asked or _REUSE.value or not done:
      evaluate(workdir, constraints, _REUSE.value, _options())
  if not alone:
    compare(_WORKDIRS.value, _OUTPUT.value)


if __name__ == "__main__":
  cli.run(main)
