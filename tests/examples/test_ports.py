"""The edge in other languages: each program is checked against edge_test.json."""

import base64
import importlib
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import ai_edge_litert
import numpy as np
import pytest
from PIL import Image

from meanet_jax.files import read_json, write_json
from tests.policies import POLICIES

ROOT = Path(__file__).parent.parent.parent
EXAMPLES, PHONE = ROOT / "examples", (ROOT / "docs" / "phone.md").read_text()
JAVA = Path("/usr/share/java")  # where Debian's packages kotlin and libandroid-json-org-java are


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
  )


def documented(language: str) -> str:
  """How docs/phone.md uses a program."""
  (code,) = re.findall(rf"```{language}\n(.*?)```", PHONE, re.DOTALL)
  return code


@pytest.fixture
def python_port(monkeypatch) -> ModuleType:
  """What checks the Python program; its `Edge` is the program."""
  monkeypatch.syspath_prepend(EXAMPLES / "raspberry_pi")
  return importlib.import_module("check_edge")


@pytest.fixture(scope="session")
def cpp_port(tmp_path_factory) -> Path:
  return compiled(EXAMPLES / "raspberry_pi/check_edge.cpp", tmp_path_factory.mktemp("cpp"))


def compiled(source: Path, directory: Path) -> Path:
  if shutil.which("g++") is None or not Path("/usr/include/nlohmann/json.hpp").is_file():
    pytest.skip("needs g++ and the Debian package nlohmann-json3-dev (make compilers)")
  library, program = Path(ai_edge_litert.__path__[0]), directory / "edge"
  flags = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", EXAMPLES / "raspberry_pi")
  link = ("-L", library, "-l:libLiteRt.so", f"-Wl,-rpath,{library}")
  built = run("g++", *flags, source, "-o", program, *link)
  assert built.returncode == 0, built.stderr
  return program


@pytest.mark.parametrize(
  "name",
  [
    "raspberry_pi/meanet_edge.py",
    "raspberry_pi/meanet_edge.h",
    "android/MeanetEdge.kt",
    "ios/MeanetEdge.swift",
  ],
)
def test_a_program_is_a_page(name):
  assert len((EXAMPLES / name).read_text().splitlines()) <= 75


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


@pytest.fixture
def beside_an_image(exports, source, tmp_path, monkeypatch) -> np.ndarray:
  """An image, in a directory with the export and both files that docs/phone.md names."""
  (tmp_path / "export").symlink_to(exports["gated"])
  image = source.dataset.test.images[0]
  Image.fromarray(image[..., 0]).save(tmp_path / "image.png")
  (tmp_path / "image.raw").write_bytes(image.tobytes())
  monkeypatch.chdir(tmp_path)
  return image


def test_the_documented_use_of_python(python_port, beside_an_image, capsys):
  edge = python_port.Edge("export")
  expected = edge.classify(beside_an_image)
  exec(compile(documented("python"), "docs/phone.md", "exec"), {})
  said = capsys.readouterr().out
  assert said == f"{edge.class_names[expected['prediction']]} {expected['exit']}\n"


@pytest.mark.full
def test_the_documented_use_of_cpp(python_port, beside_an_image, tmp_path):
  (tmp_path / "app.cpp").write_text(documented("cpp"))
  found = run(compiled(tmp_path / "app.cpp", tmp_path), cwd=tmp_path)
  expected = python_port.Edge("export").classify(beside_an_image)
  assert found.stdout == f"{expected['prediction']} {expected['exit']}\n", found.stderr


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
    pytest.skip("needs the packages kotlin and libandroid-json-org-java (make compilers)")
  android = EXAMPLES / "android"
  sources = *android.iterdir(), Path(__file__).parent / "replayed_litert.kt"
  jar, classpath = tmp_path / "edge.jar", f"{json_jar}:{stdlib}"
  built = run("kotlinc", *sources, "-cp", classpath, "-d", jar)
  assert jar.is_file(), built.stderr
  main = "org.tensorflow.lite.Replayed_litertKt"
  found = run("java", "-cp", f"{jar}:{classpath}", main, *exports.values())
  assert found.returncode == 0, found.stderr
  assert found.stdout.count("images agree") == len(exports)
