"""Every field has a meaning, and `meanet config` prints them all."""

import dataclasses
import re
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from meanet_jax.commands.app import main
from meanet_jax.config.documentation import documented
from meanet_jax.config.grid import Experiment
from meanet_jax.config.load import installed, load_config
from meanet_jax.config.parsing import field_type


def test_every_field_has_a_meaning():
  fields = list(documented(Experiment()))
  assert [field.path for field in fields if not field.meaning] == []
  assert len({field.path for field in fields}) == len(fields) > 100
  for field in fields:
    assert not dataclasses.is_dataclass(field_type(field.path))
    assert field.meaning[0].isupper() or field.meaning[0] in "`0" or field.meaning[0].isdigit()
    assert field.meaning.endswith((".", ")"))
    assert field.accepted


def test_the_string_below_a_field_is_its_meaning():
  found = {field.path: field for field in documented(Experiment())}
  assert (
    found["seed"].meaning
    == "Fixes initial weights, the order of images and augmentation; below 2^32."
  )
  assert found["stages.edge.augment.flip"].meaning == "Mirror left-right with probability one half."
  assert found["stages.main.ema_decay"].accepted == "a number, 0 to 0.999999"
  assert found["hard_classes.count"].accepted == "an integer; or none"
  assert found["model.join"].accepted == "concat, sum, none"


def test_the_command_prints_all_of_them(capsys):
  assert main(["config", "digits", "--config.stages.edge.epochs=3"]) == 0
  out = capsys.readouterr().out
  for field in documented(Experiment()):
    assert f"{field.path} = " in out
  assert "stages.edge.epochs = 3\n    Passes over the stage's images; 0 keeps" in out
  assert max(map(len, out.splitlines())) <= 100
  assert main(["config"]) == 0
  assert "digits\n" in capsys.readouterr().out
  assert main(["config", "--config.seed=3"]) == 2
  line = capsys.readouterr().err
  assert line.startswith("error: --config.seed without a configuration; accepted: its file or name")


def test_concepts_names_the_configurations_whose_extension_knows_all_classes():
  concepts = (Path(__file__).parent.parent.parent / "docs" / "concepts.md").read_text()
  found = re.search(r"as in the configurations (.*?)\.\n", concepts, re.DOTALL)
  assert found
  shipped = [name for name in installed() if load_config(name).model.extension_classes == "all"]
  patterns = re.findall(r"`([\w*]+)`", found[1])
  assert shipped == [name for name in installed() if any(map(partial(fnmatch, name), patterns))]
