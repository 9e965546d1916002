"""Import torchvision beside the CPU build of torch.

The torchvision wheel of the package index brings C++ operators that were linked against the CUDA build of torch. Beside
the CPU build they can't be loaded, and the import fails, because torchvision then adds shape rules to
`torchvision::nms` and `torchvision::qnms`, which nobody has defined. Defining just their schemas first is enough for
models and transforms; calling those two operators, or torchvision's own image codecs, still fails, and we use neither.
Where the C++ operators do load, nothing is defined here.
This may go when the index has a CPU build of torchvision for our version of torch.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch

_SCHEMA: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _define_what_is_missing() -> Any:
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("torchvision is not installed: make setup-train")
    try:
        for library in Path(package.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        schemas = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            schemas.define(f"{operator}{_SCHEMA}")
        return schemas
    return None


# The definitions live as long as this object does.
_schemas = _define_what_is_missing()

from torchvision import models  # noqa: E402 - the schemas come first

__all__ = ["models"]
