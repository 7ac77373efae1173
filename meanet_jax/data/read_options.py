"""Where and with how many hands data are read: matters of the machine, not of the experiment."""

import dataclasses
from pathlib import Path

from meanet_jax.paths import expanded_path


@dataclasses.dataclass(frozen=True)
class ReadOptions:
  """What may differ between two processes of one run without changing a single batch.

  data_dir: where prepared sets lie; None for tensorflow-datasets' own default (`TFDS_DATA_DIR`, or
    tensorflow_datasets in the home directory). Own images are there instead of at `dataset.path`.
  workers: processes that decode streamed images; 0 decodes in the training process.
  decode_again: whether images in memory are decoded anew, and decoded pixels not kept.

  Raises:
    UserError: a `data_dir` that is an address.
  """

  data_dir: str | None = None
  workers: int = 2
  decode_again: bool = False

  def __post_init__(self):
    if self.data_dir:
      object.__setattr__(self, "data_dir", expanded_path(self.data_dir, "data_dir"))

  def or_from(self, data_dir: str | None) -> "ReadOptions":
    """These, and where none is given `data_dir`, if there is such a path here."""
    if self.data_dir or data_dir is None or not Path(data_dir).exists():
      return self
    return dataclasses.replace(self, data_dir=data_dir)
