"""What networks cost in service: `python -m services.image_classifier.training.speed`, JSON on stdout.

CPU time of ONNX Runtime on one thread with random weights, which cost what trained ones do; the least of some rounds,
since other work on the machine can only add to it.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from services.image_classifier.runtime import ort
from services.image_classifier.training.network import Network, onnx_bytes
from services.image_classifier.training.recipe import NETWORKS

SIZES: Final = (144, 180, 216)
BATCHES: Final = (1, 8, 16)


def speed(network: str, sizes: tuple[int, ...], batches: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Measure a network: megabytes as ONNX, and CPU ms a picture, by pixels a side and pictures a batch."""
    torch.manual_seed(1)
    answer: dict[str, Any] = {"network": network, "megabytes": 0.0, "cpu_ms": {}}
    for size in sizes:
        graph = onnx_bytes(Network(network), size)
        answer["megabytes"] = round(len(graph) / 1e6, 2)
        session = _session(graph)
        answer["cpu_ms"][str(size)] = {str(batch): cpu_ms(session, size, batch, rounds) for batch in batches}
    return answer


def cpu_ms(session: ort.InferenceSession, size: int, batch: int, rounds: int) -> float:
    """Give the least CPU ms a picture over some rounds of a few batches."""
    pixels = np.random.default_rng(1).integers(0, 256, (batch, 3, size, size), dtype=np.uint8)
    feed, times, repeats = {session.get_inputs()[0].name: pixels}, [], max(1, 16 // batch)
    session.run(None, feed)
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(repeats):
            session.run(None, feed)
        times.append((time.process_time() - started) / repeats / batch)
    return round(1000 * min(times), 3)


def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="Measure what each network costs in service.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, help="file to write the figures to as well")
    given = parser.parse_args()
    found = json.dumps([speed(name, SIZES, BATCHES, given.rounds) for name in NETWORKS], indent=1)
    if given.out:
        given.out.write_text(found + "\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
