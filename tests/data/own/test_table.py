import numpy as np
import pytest

from meanet_jax.data.own.table import read_csv
from meanet_jax.errors import UserError
from tests.data.own.folders import write


def table(root, text: str, encoding: str = "utf-8"):
  for name in ("1.png", "a/2.png", "3.png"):
    write(root / name, b"")
  path = root / "images.csv"
  path.write_text(text, encoding=encoding)
  return path


def test_paths_count_from_the_table(tmp_path):
  absolute = tmp_path / "3.png"
  text = f"label, Path ,size\nsnow/ice,a/2.png,5\nrain,1.png,6\nrain,{absolute},7\n"
  files = read_csv(table(tmp_path, text, "utf-8-sig"))
  assert files.class_names == ("rain", "snow/ice")
  assert files.paths == ("a/2.png", "1.png", str(absolute))
  assert files.labels.tolist() == [1, 0, 0]
  assert files.splits is None


def test_groups(tmp_path):
  files = read_csv(table(tmp_path, "path,label,Group\n1.png,a,p1\na/2.png,b,p2\n3.png,a,p1\n"))
  assert files.groups is not None
  assert files.groups.tolist() == ["p1", "p2", "p1"]
  assert files.select(np.array([1])).groups.tolist() == ["p2"]


def test_splits(tmp_path):
  files = read_csv(
    table(tmp_path, "path,label,split\n1.png,a,train\na/2.png,b,VAL\n3.png,a,test\n")
  )
  assert files.splits is not None
  assert files.splits.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", "has the columns none; accepted: path and label"),
    ("file,class\n1.png,a\n", "has the columns file, class; accepted: path and label"),
    ("path,label\n", "has no image; accepted"),
    ("path,label\n1.png,a\n3.png,a\n", r"one class alone \(a: 2\)"),
    (
      "path,label\n1.png,a\nx.png,b\nnone/y.png,b\n",
      r"2 of 3 paths in .* are not files \(the first is x.png, line 3\)",
    ),
    ("path,label\n1.png,a\n3.png,\n", "line 3 of .* has no label"),
    ("path,label\n1.png,a\n3.png\n", "line 3 of .* has no label"),
    ("path,label\n1.png,a\n1.png,b\n", r"lists 1.png twice \(line 2 and line 3\) as a and b"),
    ("path,label,group\n1.png,a,p\n3.png,b,\n", "line 3 of .* has no group; accepted: one in"),
    ("path,label,split\n1.png,a,train\n3.png,b,dev\n", "line 3 of .* has split 'dev'; accepted"),
  ],
)
def test_refusals(tmp_path, text, words):
  with pytest.raises(UserError, match=words):
    read_csv(table(tmp_path, text))


def test_a_table_in_another_encoding(tmp_path):
  with pytest.raises(UserError, match="cannot be read as CSV in UTF-8"):
    read_csv(table(tmp_path, "path,label\n1.png,caf\xe9\n", "latin-1"))
