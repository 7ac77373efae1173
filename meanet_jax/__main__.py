"""`python -m meanet_jax COMMAND`, as `meanet COMMAND`."""

import sys

from meanet_jax.commands.app import main

if __name__ == "__main__":
  sys.exit(main())
