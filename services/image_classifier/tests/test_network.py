"""Networks, in torch and as the graph that is served; skipped without torch."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    "torch",
    reason="needs torch: make setup-train, then make test-training",
)

import torch
from torch import Tensor, nn

from services.image_classifier.runtime import ort
from services.image_classifier.training.network import DOUBT, Network, SecondLook, logits, onnx_bytes
from services.image_classifier.training.recipe import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_gives_in_onnx_what_it_gives_in_torch_for_any_batch(name: str) -> None:
    torch.manual_seed(1)
    network = Network(name)
    graph = onnx_bytes(network, 96)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for n in (1, 3):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 96, 96, 3), dtype=np.uint8)
        (served,) = session.run(None, {"image": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})
        np.testing.assert_allclose(served, logits(network, pixels), atol=1e-3)


class Brightness(nn.Module):  # type: ignore[misc]  # torch is not installed where this is checked
    """Stands in for a network: how much brighter than grey the left half and the top half are, in tens of levels."""

    def forward(self, image: Tensor) -> Tensor:
        planes = image.float().mean(dim=1) - 128.0
        half = image.shape[-1] // 2
        return torch.stack((planes[:, :, :half].mean(dim=(1, 2)), planes[:, :half, :].mean(dim=(1, 2))), dim=1) / 10


@pytest.mark.parametrize("in_onnx", [False, True], ids=["torch", "onnx"])
def test_only_what_the_first_look_leaves_doubtful_is_looked_at_again_mirrored_and_in_its_middle(in_onnx: bool) -> None:
    size = 40
    clear, doubtful = np.full((size, size, 3), 228, np.uint8), np.full((size, size, 3), 168, np.uint8)
    clear[: size // 2, : size // 4] = 128
    doubtful[:, : size // 2] = 128  # the left is grey, so that the mirror tells something else
    doubtful[:4], doubtful[-4:] = 128, 128  # a frame of grey, which the middle does not have
    doubtful[:, -4:] = 128
    first = Brightness()
    looked_twice = SecondLook(first, size)

    def answers(pixels: Any) -> Any:
        if not in_onnx:
            return logits(looked_twice, pixels)
        session = ort.InferenceSession(onnx_bytes(looked_twice, size), providers=["CPUExecutionProvider"])
        return session.run(None, {"image": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})[0]

    pixels = np.stack([clear, doubtful, clear])
    once, twice = logits(first, pixels), answers(pixels)
    assert np.abs(once[0]).min() >= DOUBT
    assert np.abs(once[1]).min() < DOUBT
    np.testing.assert_allclose(twice[[0, 2]], once[[0, 2]], atol=1e-4)
    # Left: 0 as it is; mirrored 4 of its 20 columns and 8 of its 40 rows are grey, of its middle none.
    assert twice[1, 0] == pytest.approx((0 + 4 * (16 / 20) * (32 / 40) + 0 + 4) / 4, abs=0.05)
    # Whatever stands beside it, and if it is alone or all are clear.
    np.testing.assert_allclose(answers(pixels[1:2]), twice[1:2], atol=1e-4)
    np.testing.assert_allclose(answers(pixels[:1]), once[:1], atol=1e-4)


def test_the_default_network_stays_small() -> None:
    assert len(onnx_bytes(Network(), 128)) < 3_000_000
