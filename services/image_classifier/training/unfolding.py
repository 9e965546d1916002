"""The weights of a model version as a network that can be trained further.

A graph that is served has no batch normalisation: the exporter folds it into the convolution before it. Here each
normalisation gets back statistics, those of a few hundred photos, and a scale and shift that undo them, so that the
network says what the graph says, and trains as one that was never folded.
"""

# torch is not installed where the service is type-checked, so its classes and decorators have no types there.
# mypy: disable-error-code="misc, untyped-decorator"

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from services.image_classifier.training.network import Network, logits
from services.image_classifier.training.packing import unpacked
from services.image_classifier.training.photos import Pixels

GRAPH = "model.onnx"


def unfolded(version: Path, name: str, pixels: Pixels) -> Network:
    """Give the network `name` with the weights of the model version in the folder `version`.

    `pixels`, uint8 (n, size, size, 3), are the photos whose statistics the normalisations get; some hundreds will do.
    Raises ValueError if the version's graph is of another network.
    """
    network: Network = Network(name).to(memory_format=torch.channels_last)
    layers = _in_order(network)
    graph = unpacked(onnx.load(version / GRAPH)).graph
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    folded = [node for node in graph.node if node.op_type == "Conv"][: len(layers)]  # further looks share the weights
    if len(folded) < len(layers):
        raise ValueError(f"{version} has {len(folded)} convolutions, and {name} has {len(layers)}")
    for (convolution, normalisation), node in zip(layers, folded, strict=True):
        weight, bias = (torch.from_numpy(np.array(arrays[given])) for given in node.input[1:3])
        if weight.shape != convolution.weight.shape:
            raise ValueError(f"{version} is of another network than {name}: {tuple(weight.shape)} in {node.name}")
        convolution.weight.data.copy_(weight)
        if normalisation is None:
            convolution.bias.data.copy_(bias)
        else:
            normalisation.running_mean.zero_()
            normalisation.running_var.fill_(1.0 - normalisation.eps)
            normalisation.weight.data.fill_(1.0)
            normalisation.bias.data.copy_(bias)
    for key, value in network.head.state_dict().items():
        value.copy_(torch.from_numpy(np.array(arrays[f"network.head.{key}"])))
    with _statistics(normalisation for _, normalisation in layers if normalisation is not None) as seen:
        logits(network, pixels)
    for normalisation, (count, total, squares) in seen.items():
        mean = total / count
        variance = squares / count - mean**2
        normalisation.running_mean.copy_(mean)
        normalisation.running_var.copy_(variance)
        normalisation.bias.data.add_(mean.float())
        normalisation.weight.data.copy_((variance + normalisation.eps).sqrt())
    return network


def _in_order(network: Network) -> list[tuple[Any, Any]]:
    """Give every convolution, in the order in which a picture meets them, with the normalisation after it or None."""
    met: list[Any] = []
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [
        part.register_forward_hook(lambda module, *_: met.append(module))
        for part in network.modules()
        if isinstance(part, kinds)
    ]
    logits(network, np.zeros((1, 64, 64, 3), dtype=np.uint8))
    for hook in hooks:
        hook.remove()
    return [
        (part, after if isinstance(after, nn.BatchNorm2d) else None)
        for part, after in zip(met, [*met[1:], None], strict=True)
        if isinstance(part, nn.Conv2d)
    ]


@contextmanager
def _statistics(layers: Iterator[Any]) -> Iterator[dict[Any, tuple[int, Tensor, Tensor]]]:
    """Sum up what normalisations are given: of each its pictures' pixels, their sum and that of their squares."""
    seen: dict[Any, tuple[int, Tensor, Tensor]] = {}

    def look(module: Any, given: tuple[Tensor, ...]) -> None:
        values = given[0].double()
        count, total, squares = seen.get(module, (0, torch.zeros(1), torch.zeros(1)))
        count += values.numel() // values.shape[1]
        seen[module] = (count, total + values.sum(dim=(0, 2, 3)), squares + (values**2).sum(dim=(0, 2, 3)))

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
