"""The network: MobileNetV3-small with two independent outputs, its normalisation inside, and its export to ONNX."""

# torch is not installed where the service is type-checked, so its classes and decorators have no types there.
# mypy: disable-error-code="misc, untyped-decorator"

import tempfile
import warnings
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from services.image_classifier.training.torchvision_on_cpu import mobilenet_v3_small


class Network(nn.Module):
    """Takes uint8 RGB of shape (n, 3, size, size) and gives the logits of cat and dog, float32 (n, 2)."""

    def __init__(self) -> None:
        super().__init__()
        body = mobilenet_v3_small(weights=None)
        self.features = body.features
        for part in self.features.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 0.1  # torchvision's 0.01 is for runs of days; the weights' moving average smooths too
        # Two outputs need no head of 1,024 units, which would be a third of all weights.
        self.head = nn.Sequential(nn.Linear(576, 256), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(256, 2))

    def forward(self, image: Tensor) -> Tensor:
        """Run the network."""
        centred = (image.float() - 118.0) / 60.0
        pooled = self.features(centred).mean(dim=(2, 3))
        return cast(Tensor, self.head(pooled))


def onnx_bytes(network: Network, size: int) -> bytes:
    """Export a network for pictures of `size` pixels, any batch size, as an ONNX file."""
    network.eval()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # The exporter by tracing is called legacy; the new one needs onnxscript, which nothing else here does.
        warnings.simplefilter("ignore", DeprecationWarning)
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            (torch.zeros((2, 3, size, size), dtype=torch.uint8),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
        return path.read_bytes()
