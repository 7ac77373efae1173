"""Paths as people write them: in flags, environment variables and configurations."""

import os
import re
from collections.abc import Sequence

from meanet_jax.errors import UserError


def expanded_path(text: str, name: str, schemes: Sequence[str] = ()) -> str:
  """A path with its `~` or `~USER` expanded; an empty text stays empty.

  Every path that a person gives comes through here. Left to themselves, most libraries take `~` and
  `gs:` for the names of local directories, and make them.

  Args:
    text: as it was given.
    name: of the flag, the variable or the field, to a person.
    schemes: of the addresses `SCHEME://...` that whoever uses the path can reach; these are left as
      they are.

  Raises:
    UserError: an address of another scheme, or a home directory that is not known.
  """
  address = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
  if address is not None:
    if address[1] in schemes:
      return text
    accepted = "".join(f", or {scheme}://..." for scheme in schemes)
    raise UserError(
      f"{name} is {text!r}, and {address[1]}:// cannot be used there; "
      f"accepted: a path of this machine's file systems (a bucket has to be mounted){accepted}"
    )
  expanded = os.path.expanduser(text)
  if expanded.startswith("~"):
    home, slash, rest = text.partition("/")
    raise UserError(
      f"{name} is {text!r}, and the home directory that {home} stands for is not known; "
      f"accepted: a path without it (./{home}{slash}{rest} for a directory of that name)"
    )
  return expanded
