"""What a user installs: the wheel holds the package and its configurations, and works alone."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

import meanet_jax

ROOT = Path(__file__).parent.parent
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
SHORT = (
  "--config.stages.main.epochs=2",
  "--config.stages.edge.epochs=2",
  "--config.stages.cloud.epochs=2",
)


def copied(source: Path) -> None:
  """What a package is built of, where a build may write."""
  source.mkdir()
  for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, source)
  for name in ("meanet_jax", "configs"):
    shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))


def build(folder: Path) -> Path:
  """A wheel of the checkout's files, built in a copy of them by what is installed here."""
  source = folder / "source"
  copied(source)
  done = subprocess.run(
    [sys.executable, "-c", BUILD, str(folder)],
    cwd=source,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  (wheel,) = folder.glob("meanet_jax-*.whl")
  return wheel


def files(folder: Path) -> set[str]:
  found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
  return {str(path) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_files_of_the_package_and_no_others(tmp_path):
  names = zipfile.ZipFile(build(tmp_path)).namelist()
  held = {name for name in names if ".dist-info/" not in name}
  assert held == {f"meanet_jax/{name}" for name in files(ROOT / "meanet_jax")} | {
    f"meanet_jax/configs/{name}" for name in files(ROOT / "configs")
  }
  described = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
  assert {"METADATA", "licenses/LICENSE", "entry_points.txt"} <= described


def test_the_citation_is_of_this_version_and_of_the_paper():
  cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  assert cited["version"] == meanet_jax.__version__
  (paper,) = cited["references"]
  assert paper["type"] == "conference-paper"
  assert "preferred-citation" not in cited  # would hide the software


@pytest.mark.full
def test_sdist_and_wheel_pass_twine(tmp_path):
  """As `make dist` makes them."""
  pytest.importorskip("twine")
  copied(tmp_path / "source")
  built = ["uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
  subprocess.run(
    [sys.executable, "-m", *built, "--out-dir", str(tmp_path / "dist")],
    cwd=tmp_path / "source",
    check=True,
  )
  made = sorted((tmp_path / "dist").glob("meanet_jax-*"))
  assert [path.name.rpartition(meanet_jax.__version__)[2] for path in made] == [
    "-py3-none-any.whl",
    ".tar.gz",
  ]
  checked = [sys.executable, "-m", "twine", "check", "--strict", *map(str, made)]
  done = subprocess.run(checked, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout + done.stderr
  assert done.stdout.count("PASSED") == 2


@pytest.mark.full
def test_the_installed_wheel_trains_evaluates_exports_and_serves(tmp_path):
  """In a virtual environment outside the checkout; dependencies are those of this one."""
  environment = tmp_path / "environment"
  venv.create(environment, with_pip=False)
  packages = environment / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
  (packages / "dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
  bin = environment / "bin"
  install = ["-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python"]
  subprocess.run([sys.executable, *install, str(bin / "python"), str(build(tmp_path))], check=True)
  digit = tmp_path / "digit.png"
  Image.new("L", (8, 8), 200).save(digit)
  variables = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}

  def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
      [str(bin / "meanet"), *arguments],
      cwd=tmp_path,
      env=variables,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def meanet(*arguments: str) -> str:
    process = start(*arguments)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out

  where = [str(bin / "python"), "-c", "import meanet_jax; print(meanet_jax.__file__)"]
  found = subprocess.run(where, cwd=tmp_path, env=variables, capture_output=True, text=True)
  assert Path(found.stdout.strip()).parent == packages / "meanet_jax"
  assert "digits\n" in meanet("config")
  meanet("train", "--config", "digits", "--workdir", "run", *SHORT)
  assert "meanet" in meanet("eval", "--workdir", "run")
  assert (tmp_path / "run/eval/report.html").is_file()
  meanet("export", "--workdir", "run", "--out", "out", "--allow-unmet")
  assert "digit.png: " in meanet("edge", "--model", "out", str(digit))
  server = start("cloud", "--workdir", "run", "--grpc-port", "0", "--metrics-port", "0")
  try:
    assert server.stdout is not None
    assert any("cloud tier ready" in line for line in server.stdout)
  finally:
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
  assert server.returncode == 0
