"""Flags as people write them, and what is refused in one line."""

import pytest

from meanet_jax.commands import flags
from meanet_jax.commands.flags import ConfigField, Parser
from meanet_jax.config.ranges import Range
from meanet_jax.errors import UserError


def parse(*arguments: str):
  parser = Parser("meanet tests", None)
  parser.add_argument("name", metavar="NAME", nargs="?")
  parser.add_argument("--some-text")
  flags.add_integer(parser, "--count", Range(1, 9), default=3)
  flags.add_number(parser, "--max-share", Range(0, 1))
  flags.add_number(parser, "--seconds", Range(0))
  flags.add_choice(parser, "--kind", ("red", "green"), default="red")
  flags.add_switch(parser, "--dry-run", "nothing is done")
  parser.takes_fields = True
  return parser.parse(arguments)


def test_defaults():
  given = parse()
  assert (given.name, given.some_text, given.count, given.max_share) == (None, None, 3, None)
  assert (given.kind, given.dry_run, given.fields) == ("red", False, [])


@pytest.mark.parametrize("name", ["--max-share", "--max_share"])
def test_dashes_and_underscores(name):
  assert parse(name, "0.5").max_share == parse(f"{name}=0.5").max_share == 0.5


def test_an_underscore_in_a_value_stays():
  given = parse("--some-text=--a_b=c_d", "x_y")
  assert (given.some_text, given.name) == ("--a_b=c_d", "x_y")
  assert parse("--", "--a_b").name == "--a_b"


@pytest.mark.parametrize(
  ("arguments", "value"),
  [
    (["--dry-run"], True),
    (["--dry_run=true"], True),
    (["--dry-run=False"], False),
    (["--dry-run", "--no-dry-run"], False),
    (["--dry-run", "--nodry_run"], False),
    (["--no-dry-run", "--dry-run"], True),
  ],
)
def test_switches(arguments, value):
  assert parse(*arguments, "name").dry_run is value


def test_fields_of_the_configuration():
  given = parse("--config.a.b_c=1", "--count=2", "--config.d", "x=y", "--config.e", "--noconfig.f")
  assert given.fields == [
    ConfigField("a.b_c", "1"),
    ConfigField("d", "x=y"),
    ConfigField("e", None),
    ConfigField("f", "false"),
  ]
  assert given.count == 2


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--cuont=3"], "flag --cuont does not exist; did you mean '--count'? accepted: the flags of"),
    (["--coun=3"], "flag --coun does not exist; did you mean '--count'? accepted: the flags of"),
    (["--zzz"], "flag --zzz does not exist; accepted: the flags of --help"),
    (["a", "b"], "unexpected argument 'b'; accepted: NAME and flags"),
    (["--count"], "flag --count has no value; accepted: --count VALUE"),
    (["--count=0"], "flag --count is 0; accepted: an integer, 1 to 9"),
    (["--count=1.5"], "flag --count is 1.5; accepted: an integer, 1 to 9"),
    (["--max_share=much"], "flag --max-share is much; accepted: 0 to 1"),
    (["--max-share=nan"], "flag --max-share is nan; accepted: 0 to 1"),
    (["--seconds=-1"], "flag --seconds is -1; accepted: a finite number, at least 0"),
    (["--seconds", "-1"], "flag --seconds is -1; accepted: a finite number, at least 0"),
    (["--seconds=inf"], "flag --seconds is inf; accepted: a finite number, at least 0"),
    (["--seconds=1e999"], "flag --seconds is 1e999; accepted: a finite number, at least 0"),
    (["--kind=gren"], "flag --kind is 'gren'; did you mean 'green'? accepted: red, green"),
    (["--dry-run=perhaps"], "flag --dry-run is 'perhaps'; accepted: true or false"),
  ],
)
def test_refusals(arguments, message):
  with pytest.raises(UserError) as caught:
    parse(*arguments)
  assert str(caught.value).startswith(message)
  assert "\n" not in str(caught.value)


def test_fields_where_no_configuration_is_read():
  with pytest.raises(UserError, match=r"flag --config\.seed does not exist"):
    Parser("meanet tests", None).parse(["--config.seed=1"])
