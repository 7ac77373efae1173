"""`python eval.py FLAGS`, as `meanet eval FLAGS`."""

import sys

from meanet_jax.commands.app import main

if __name__ == "__main__":
  sys.exit(main(["eval", *sys.argv[1:]]))
