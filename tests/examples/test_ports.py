"""The edge in other languages: each program is checked against edge_test.json."""

import base64
import importlib
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import ai_edge_litert
import numpy as np
import pytest

from meanet_jax.runs.files import read_json, write_json
from tests.policies import POLICIES

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
JAVA = Path("/usr/share/java")  # where Debian's packages kotlin and libandroid-json-org-java are


def run(*command: object) -> subprocess.CompletedProcess[str]:
  return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture
def python_port(monkeypatch) -> ModuleType:
  """What checks the Python program; its `Edge` is the program."""
  monkeypatch.syspath_prepend(EXAMPLES / "raspberry_pi")
  return importlib.import_module("check_edge")


@pytest.fixture(scope="session")
def cpp_port(tmp_path_factory) -> Path:
  if shutil.which("g++") is None or not Path("/usr/include/nlohmann/json.hpp").is_file():
    pytest.skip("needs g++ and the Debian package nlohmann-json3-dev")
  library, program = Path(ai_edge_litert.__path__[0]), tmp_path_factory.mktemp("cpp") / "edge"
  warnings = ("-Wall", "-Wextra", "-Werror")
  command = ["g++", "-std=c++17", *warnings, EXAMPLES / "raspberry_pi/check_edge.cpp"]
  link = ["-L", library, "-l:libLiteRt.so", f"-Wl,-rpath,{library}"]
  built = run(*command, "-o", program, *link)
  assert built.returncode == 0, built.stderr
  return program


def test_a_sample_of_each_policy_has_every_route(exports):
  """What the ports are compared on covers each rule's own steps."""
  routes = {
    (vector["sent"], vector["sent_early"], vector["ran_extension"], vector["predicted_hard"])
    for directory in exports.values()
    for vector in read_json(directory / "edge_test.json")["vectors"]
  }
  assert (False, False, False, False) in routes  # main answers
  assert (False, False, True, True) in routes  # the extension ran
  assert (True, True, False, True) in routes  # sent before it ran
  assert (True, False, True, True) in routes  # and after


@pytest.mark.parametrize("name", POLICIES)
def test_python(python_port, exports, name):
  count = len(read_json(exports[name] / "edge_test.json")["vectors"])
  assert python_port.check(exports[name]) == count > 0


def test_python_calls_the_extension_only_where_it_has_to(python_port, exports, source):
  edge, calls = python_port.Edge(exports["margin"]), []
  inner = edge.extension
  edge.extension = lambda **given: calls.append(1) or inner(**given)
  found = [edge.classify(image) for image in source.dataset.test.images[:40]]
  assert 0 < len(calls) == sum(one["ran_extension"] for one in found) < 40


def test_python_answers_alone_when_the_cloud_fails(python_port, exports):
  edge = python_port.Edge(exports["always"])
  (vector, *_) = read_json(exports["always"] / "edge_test.json")["vectors"]
  image = np.frombuffer(base64.b64decode(vector["image"]), np.uint8).reshape(edge.shape)
  found = edge.classify(image, lambda _: None)
  assert {key: found[key] for key in ("exit", "prediction")} == vector["without_cloud"]


def test_python_finds_what_differs(python_port, exports, tmp_path):
  changed = copied(exports["margin"], tmp_path)
  tests = read_json(changed / "edge_test.json")
  tests["vectors"][0]["main"]["logits"][0] += 0.1
  write_json(changed / "edge_test.json", tests)
  with pytest.raises(SystemExit, match="image "):
    python_port.check(changed)


def copied(export: Path, directory: Path) -> Path:
  shutil.copytree(export, directory / "copy")
  return directory / "copy"


@pytest.mark.parametrize(("field", "value"), [("batch_size", 4), ("image_dtype", "float32")])
def test_python_refuses_another_kind_of_export(python_port, exports, tmp_path, field, value):
  changed = copied(exports["paper"], tmp_path)
  write_json(changed / "edge.json", read_json(changed / "edge.json") | {field: value})
  with pytest.raises(SystemExit, match="an export with --batch 1 and --input uint8"):
    python_port.check(changed)


@pytest.mark.full
def test_cpp(cpp_port, exports, tmp_path):
  for directory in exports.values():
    count = len(read_json(directory / "edge_test.json")["vectors"])
    found = run(cpp_port, directory)
    assert (found.returncode, found.stdout) == (0, f"{count} images agree\n"), found.stderr
  changed = copied(exports["margin"], tmp_path)
  tests = read_json(changed / "edge_test.json")
  tests["vectors"][0]["compared"]["uncertainty"] += 0.1
  write_json(changed / "edge_test.json", tests)
  found = run(cpp_port, changed)
  assert (found.returncode, "\nerror: image " in found.stderr) == (1, True)
  write_json(changed / "edge.json", read_json(changed / "edge.json") | {"batch_size": 4})
  found = run(cpp_port, changed)
  assert found.returncode == 1
  assert "error: accepted: an export with --batch 1 and --input uint8\n" in found.stderr


@pytest.mark.full
def test_kotlin_with_recorded_signatures(exports, tmp_path):
  """The order of calls alone: LiteRT for Android does not run here, so signatures answer what is
  in the file."""
  json_jar, stdlib = JAVA / "json-android.jar", JAVA / "kotlin-stdlib.jar"
  if shutil.which("kotlinc") is None or not json_jar.is_file():
    pytest.skip("needs the Debian packages kotlin and libandroid-json-org-java")
  android = EXAMPLES / "android"
  sources = *android.iterdir(), Path(__file__).parent / "replayed_litert.kt"
  jar, classpath = tmp_path / "edge.jar", f"{json_jar}:{stdlib}"
  built = run("kotlinc", *sources, "-cp", classpath, "-d", jar)
  assert jar.is_file(), built.stderr
  main = "org.tensorflow.lite.Replayed_litertKt"
  found = run("java", "-cp", f"{jar}:{classpath}", main, *exports.values())
  assert found.returncode == 0, found.stderr
  assert found.stdout.count("images agree") == len(exports)
