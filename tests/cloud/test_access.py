"""The bearer token."""

import pytest

from meanet_jax.cloud.access import Token


@pytest.mark.parametrize(
  ("given", "admitted"),
  [
    ("Bearer s3cret", True),
    (b"bearer s3cret", True),
    ("BEARER  s3cret", True),
    ("Bearer s3cre", False),
    ("Bearer S3CRET", False),
    ("Bearers3cret", False),
    ("Basic s3cret", False),
    ("s3cret", False),
    ("Bearer ", False),
    ("", False),
    (None, False),
    ("Bearer schlüssel", False),
  ],
)
def test_token(given, admitted):
  assert Token("s3cret").admits(given) is admitted
  assert Token(None).admits(given)
