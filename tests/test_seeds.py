from meanet_jax.seeds import name_number


def test_a_name_is_one_number_in_every_process():
  """CRC-32's values, which no process's hash seed changes; forked commands share that seed."""
  assert [name_number(name) for name in ("main", "edge", "cloud")] == [
    3207122276,
    1963381606,
    844895956,
  ]
