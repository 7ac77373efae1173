"""`python train.py FLAGS`, as `meanet train FLAGS`."""

import sys

from meanet_jax.commands.app import main

if __name__ == "__main__":
  sys.exit(main(["train", *sys.argv[1:]]))
