import pytest

from meanet_jax.errors import UserError
from meanet_jax.files import read_json, write_json
from meanet_jax.runs.directory import FORMAT, RunDirectory


def test_a_new_run_and_the_same_again(tiny, tmp_path):
  run = RunDirectory.create(tmp_path / "a" / "b", tiny)
  assert run.config() == tiny
  assert RunDirectory.create(tmp_path / "a" / "b", tiny).config() == tiny
  environment = read_json(run.path / "environment.json")
  assert environment["format"] == FORMAT
  assert environment["devices"]
  assert environment["packages"]["flax"]


def test_a_file_in_the_way_is_refused(tiny, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written: File exists"):
    RunDirectory.create(tmp_path / "file", tiny)


def test_a_configuration_that_cannot_be_read_is_refused_not_replaced(tiny, tmp_path):
  run = RunDirectory.create(tmp_path, tiny)
  run.config_path.write_text('{"seed": ')
  with pytest.raises(UserError, match=r"config\.json cannot be read"):
    RunDirectory.create(tmp_path, tiny)
  assert run.config_path.read_text() == '{"seed": '


def test_data_are_written_down_and_compared(tiny, tmp_path):
  run = RunDirectory.create(tmp_path, tiny)
  data = {"name": "digits", "class_names": ["0", "1"], "splits": {"train": 3}}
  fewer = {name: value for name, value in data.items() if name != "class_names"}
  run.record_data(data)
  run.record_data(data)
  for changed in (data | {"splits": {"train": 4}}, data | {"class_names": ["0", "2"]}, fewer):
    with pytest.raises(UserError, match="differs from what was read then in"):
      run.record_data(changed)
  assert read_json(run.data_path) == data


@pytest.mark.parametrize(
  ("written", "found"),
  [
    ({"format": FORMAT + 1}, f"environment.json has format {FORMAT + 1}"),
    ({"format": str(FORMAT)}, f"environment.json has format '{FORMAT}'"),
    ({"python": "3.11"}, "environment.json has no format"),
    ([], "environment.json has no format"),
    (None, "environment.json has no format"),
  ],
)
def test_a_run_of_another_format_is_refused(tiny, tmp_path, written, found):
  run = RunDirectory.create(tmp_path, tiny)
  if written is None:
    run.environment_path.unlink()
  else:
    write_json(run.environment_path, written)
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  line = (
    f"workdir {tmp_path} was written by another version: {found}, and this version reads format "
    f"{FORMAT}; train it anew with this version, in another --workdir"
  )
  for use in (lambda: RunDirectory.existing(tmp_path), lambda: RunDirectory.create(tmp_path, tiny)):
    with pytest.raises(UserError) as caught:
      use()
    assert str(caught.value) == line
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_evaluations_by_name(tiny, tmp_path):
  run = RunDirectory.create(tmp_path, tiny)
  assert run.evaluations() == {}
  assert run.evaluation_path(None) == run.eval_path
  for name in ("pi-4", "a", "B_2", "0" * 100):
    assert run.evaluation_path(name) == run.eval_path / name
  for name in ("pi-4", "a"):
    run.evaluation_path(name).mkdir(parents=True)
    write_json(run.evaluation_path(name) / "summary.json", {})
  (run.eval_path / "empty").mkdir()
  assert list(run.evaluations()) == ["a", "pi-4"]
  write_json(run.eval_path / "summary.json", {})
  assert list(run.evaluations()) == [None, "a", "pi-4"]


@pytest.mark.parametrize(
  "name", ["", ".", "..", "a/b", "summary.json", "-a", "ä", "a b", "a" * 101]
)
def test_a_name_that_is_no_directorys_is_refused(tiny, tmp_path, name):
  run = RunDirectory(tmp_path)
  with pytest.raises(UserError, match=r"the name of an evaluation is '.*'; accepted: up to 100"):
    run.evaluation_path(name)
