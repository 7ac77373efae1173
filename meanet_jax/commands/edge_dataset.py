"""The images of `meanet edge --dataset`: the test split of a data set."""

import dataclasses
from collections.abc import Iterator

from meanet_jax.edge.inputs import Images, Item
from meanet_jax.edge.manifest import Manifest
from meanet_jax.errors import UserError

_READ_AHEAD = 256  # images of a data set that are read together


def from_dataset(name: str, data_dir: str | None, manifest: Manifest) -> Images:
  """The test split of a data set, split as the export's configuration says.

  It is read by `meanet_jax/data`, which needs no JAX, but packages that a device may not have. Its
  images are preprocessed as `edge.json` records, like files.

  Raises:
    UserError: a package that is missing, a set that is not there, or one of other classes.
  """
  try:
    from meanet_jax import log
    from meanet_jax.data.read_options import ReadOptions
    from meanet_jax.data.sources import load_test
  except ModuleNotFoundError as error:
    raise UserError(
      f"--dataset reads with packages of which {error.name} is not installed; accepted: "
      "pip install absl-py array-record grain importlib-resources jaxtyping pillow rich "
      "scikit-learn tensorflow-datasets, or --images"
    ) from error
  config = dataclasses.replace(manifest.dataset, name=name)
  log.to_stderr()  # beside the answers
  class_names, split = load_test(config, ReadOptions(data_dir), manifest.preprocessing)
  if class_names != manifest.class_names:
    raise UserError(
      f"--dataset {name} has classes {log.listed(class_names, 3)}; "
      f"accepted: those of the export, {log.listed(manifest.class_names, 3)}"
    )

  def items() -> Iterator[Item]:
    for start in range(0, len(split), _READ_AHEAD):
      numbers = range(start, min(start + _READ_AHEAD, len(split)))
      for number, image in zip(numbers, split.images_at(numbers), strict=True):
        yield Item(number, image, label=int(split.labels[number]))

  return Images(len(split), items())
