"""Where and with how many hands data are read: matters of the machine, not of the experiment."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ReadOptions:
  """What may differ between two processes of one run without changing a single batch.

  data_dir: where prepared sets lie; None for tensorflow-datasets' own default (`TFDS_DATA_DIR`, or
    tensorflow_datasets in the home directory).
  workers: processes that decode streamed images; 0 decodes in the training process.
  """

  data_dir: str | None = None
  workers: int = 2
