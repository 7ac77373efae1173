"""JSON files that are nested beyond what Python reads end in one line."""

import pytest

from meanet_jax.edge.manifest import read_manifest
from meanet_jax.edge.test_vectors import read_test_vectors
from meanet_jax.errors import UserError
from meanet_jax.files import read_json
from meanet_jax.runs.metrics import MetricsFile

NESTED = '{"a":' * 100_000


@pytest.mark.parametrize(
  ("name", "read"),
  [
    ("edge.json", lambda path: read_manifest(path.parent)),
    ("edge_test.json", lambda path: read_test_vectors(path.parent)),
    ("config.json", read_json),
    ("metrics.jsonl", lambda path: MetricsFile(path).read()),
  ],
)
def test_it_is_refused(tmp_path, name, read):
  path = tmp_path / name
  path.write_text(NESTED + "\n")
  with pytest.raises(UserError, match=r"cannot be read.*maximum recursion depth exceeded"):
    read(path)
