"""The protocol between a device and the cloud tier. The standard library alone.

Model `cloud` of the Open Inference Protocol v2, over gRPC. One input of:

  image     UINT8 [B, H, W, C]   pixels as the network sees them
  encoded   BYTES [B]            one PNG or JPEG each, of exactly H x W pixels, grey for C = 1
                                 and RGB for C = 3

Outputs, all of them or those that the request names:

  class         INT32 [B]      original class number
  probability   FP32  [B]      of that class: the largest softmax probability, uncalibrated
  logits        FP32  [B, C]

The model's metadata give H, W, C and the number of classes as shapes. Every answer carries two
parameters, so that a device can check whose answer it is: `dataset` (the configuration's name of
it, as in edge.json) and `classes_sha256` (`classes_digest` of the class names in order).

Where a token is demanded, every call but liveness, readiness and health carries `authorization:
Bearer TOKEN` as metadata.
"""

import hashlib
import json
from collections.abc import Sequence

MODEL = "cloud"
IMAGE, ENCODED = "image", "encoded"
CLASS, PROBABILITY, LOGITS = "class", "probability", "logits"
DATASET_PARAMETER, CLASSES_PARAMETER = "dataset", "classes_sha256"


def classes_digest(class_names: Sequence[str]) -> str:
  """SHA-256 in hex of the class names in order, as compact JSON in UTF-8."""
  text = json.dumps(list(class_names), ensure_ascii=False, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()


def is_token(text: str) -> bool:
  """Whether `authorization: Bearer TEXT` can be sent: printable ASCII without spaces."""
  return text.isascii() and text.isprintable() and " " not in text and bool(text)
