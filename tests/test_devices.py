"""A platform that is not on this machine, in every command that needs a device."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from meanet_jax.devices import check_devices
from meanet_jax.errors import UserError

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
  ("raised", "words"),
  [
    (AssertionError(), "JAX_PLATFORMS is cuda: JAX finds no device of it; accepted: a platform"),
    (
      RuntimeError("Unable to initialize backend 'x': no (set JAX_PLATFORMS='' to choose)"),
      "JAX_PLATFORMS is cuda: Unable to initialize backend 'x': no; accepted: a platform",
    ),
  ],
)
def test_whatever_jax_raises_is_one_line(monkeypatch, raised, words):
  def devices():
    raise raised

  check_devices()  # there are some
  monkeypatch.setattr(jax, "devices", devices)
  monkeypatch.setattr(type(jax.config), "jax_platforms", "cuda", raising=False)
  with pytest.raises(UserError) as caught:
    check_devices()
  assert str(caught.value).startswith(words)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_command_ends_with_one_line(platform, tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "meanet_jax", "summary", "--config=configs/digits.py"],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": platform},
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.returncode, done.stdout) == (2, "")
  (line,) = done.stderr.splitlines()
  assert line.startswith(f"error: JAX_PLATFORMS is {platform}: ")
