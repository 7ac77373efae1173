"""Evaluates finished runs: python eval.py --workdir runs/digits [--max-offload 0.1].

Several --workdir are evaluated where needed and compared: mean and spread over runs.
"""

from absl import flags

from meanet_jax import log
from meanet_jax.commands import flags as cli
from meanet_jax.commands import launch
from meanet_jax.commands.constraint_flags import constraints_of, define_constraint_flags
from meanet_jax.devices import check_devices
from meanet_jax.report.compare import compare
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import RunDirectory

_options = cli.define_read_flags()
_use_compilation_cache = launch.define_compilation_cache_flag()
_WORKDIRS = cli.define_path_flags("workdir", [], "A run that train.py finished; repeatable.")
_OUTPUT = cli.define_path_flag("output", "runs/comparison", "Where several runs are compared.")
_REUSE = flags.DEFINE_boolean(
  "reuse_records", False, "Read the records of an earlier evaluation; run no network."
)
_given_constraints = define_constraint_flags()


def main() -> None:
  """Reads the flags and evaluates."""
  log.to_console()
  if not _WORKDIRS.value:
    cli.require(None, "workdir", "the directory of a run")
  check_devices()
  _use_compilation_cache()
  given = _given_constraints()
  alone = len(_WORKDIRS.value) == 1
  for workdir in _WORKDIRS.value:
    run = RunDirectory.existing(workdir)
    done = (run.eval_path / "summary.json").exists()
    if alone or given or _REUSE.value or not done:
      constraints = constraints_of(run.config(), given)
      evaluate_run(workdir, constraints, _REUSE.value, _options())
  if not alone:
    compare(_WORKDIRS.value, _OUTPUT.value)


if __name__ == "__main__":
  cli.run(main)
