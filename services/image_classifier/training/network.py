"""The networks: a body of torchvision with two independent outputs, normalisation inside, and its export to ONNX."""

# torch is not installed where the service is type-checked, so its classes and decorators have no types there.
# mypy: disable-error-code="misc, untyped-decorator"

import tempfile
import warnings
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from services.image_classifier.training.packing import packed
from services.image_classifier.training.recipe import NETWORKS, Recipe
from services.image_classifier.training.torchvision_on_cpu import models

DOUBT: Final = 2.0
"""A picture is looked at again where the first look's logit of a species is nearer to 0: a chance of 12 to 88 %."""
BORDER: Final = 0.1
"""The share of a picture's side that the middle leaves out on each of the four sides."""


class Network(nn.Module):
    """Takes uint8 RGB of shape (n, 3, size, size) and gives the logits of cat and dog, float32 (n, 2)."""

    def __init__(self, name: str = NETWORKS[0]) -> None:
        super().__init__()
        self.features, channels = _body(name)
        for part in self.features.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 0.1  # torchvision's 0.01 is for runs of days; the weights' moving average smooths too
        # Two outputs need no head of 1,024 units, which would be a third of all weights.
        self.head = nn.Sequential(nn.Linear(channels, 256), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(256, 2))

    def forward(self, image: Tensor) -> Tensor:
        """Run the network."""
        centred = (image.float() - 118.0) / 60.0
        pooled = self.features(centred).mean(dim=(2, 3))
        return cast(Tensor, self.head(pooled))


class SecondLook(nn.Module):
    """What is served: a network that looks again at the pictures of which its first look leaves a doubt.

    `size` is the pictures' pixels a side. Takes and gives what `Network` does. The second look is at the mirrored
    picture, at its middle, and at the mirrored middle; the mean of all four logits counts. It stands in the graph, so
    whoever serves one knows nothing of it.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.middle = slice(round(BORDER * size), size - round(BORDER * size))

    def forward(self, image: Tensor) -> Tensor:
        """Look once at every picture, and again at some."""
        first = self.network(image)
        doubtful = (first.abs() < DOUBT).any(dim=1).nonzero().squeeze(1)
        whole = image[doubtful].float()
        square = (self.size, self.size)
        middle = nn.functional.interpolate(whole[:, :, self.middle, self.middle], size=square, mode="bilinear")
        views = torch.stack((whole.flip(3), middle, middle.flip(3)), dim=1)
        again = self.network(views.reshape(-1, 3, *square)).reshape(-1, 3, 2)
        return first.index_copy(0, doubtful, (first[doubtful] + again.sum(dim=1)) / 4)


def _body(name: str) -> tuple[Any, int]:
    """Give what turns pictures into maps of features, and the number of these."""
    whole = getattr(models, name)(weights=None)
    if name.startswith("mobilenet"):
        return whole.features, whole.classifier[0].in_features
    if name.startswith("regnet"):
        return nn.Sequential(whole.stem, whole.trunk_output), whole.fc.in_features
    parts = (whole.conv1, whole.maxpool, whole.stage2, whole.stage3, whole.stage4, whole.conv5)
    return nn.Sequential(*parts), whole.fc.in_features


def trained(checkpoint: Path) -> tuple[Network, Recipe]:
    """Give the network of a checkpoint, with the moving average of its weights, and the recipe of its run."""
    state = torch.load(checkpoint, weights_only=True)
    recipe = Recipe.of(state["recipe"])
    network = Network(recipe.network).to(memory_format=torch.channels_last)
    network.load_state_dict(state["average"])
    network.eval()
    return network, recipe


@torch.inference_mode()
def logits(network: nn.Module, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Run a network on uint8 (n, size, size, 3); gives (n, 2)."""
    network.eval()
    parts = [
        network(torch.from_numpy(np.array(pixels[start : start + 128])).permute(0, 3, 1, 2)).double().numpy()
        for start in range(0, len(pixels), 128)
    ]
    return np.concatenate(parts)


def onnx_bytes(network: nn.Module, size: int) -> bytes:
    """Export a network for pictures of `size` pixels, any batch size, as an ONNX file with its weights in 16 bits."""
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
        return cast(bytes, packed(onnx.load(path)).SerializeToString())
