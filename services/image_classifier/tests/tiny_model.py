"""A real model version of a few hundred bytes, for tests: red is a cat, blue a dog, violet both, dark green neither.

The ONNX file is written by hand (protobuf is tags, lengths and bytes), so that tests need neither torch nor onnx.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

SIZE = 32
_FLOAT, _UINT8 = 1, 2


def write_tiny_model(folder: Path, name: str = "tiny", version: str = "1", **changes: Any) -> Path:
    """Write `model.onnx` and `manifest.json` into a folder, and give it; `changes` replace fields of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = tiny_graph()
    (folder / "model.onnx").write_bytes(graph)
    thresholds = {"present_above": 0.6, "absent_below": 0.4}
    calibration = {"temperature": 1.0, "bias": 0.0}
    manifest = {
        "schema": 1,
        "name": name,
        "version": version,
        "labels": ["cat", "dog"],
        "input_size": SIZE,
        "preprocessing": "squash-rgb-uint8-nchw",
        "calibration": {"cat": calibration, "dog": calibration},
        "thresholds": {"cat": thresholds, "dog": thresholds},
        "priors": {"cat": 0.4, "dog": 0.4},
        "digest": hashlib.sha256(graph).hexdigest(),
        "trained_on": {"photos": 0},
        "measured": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes), encoding="utf-8")
    return folder


def tiny_graph(size: int = SIZE, batch: str | int = "n", outputs: int = 2) -> bytes:
    """Give the ONNX graph logit = (mean of red or blue - 128) / 8."""
    rows = ([1 / 8, 0.0, 0.0], [0.0, 0.0, 1 / 8])[:outputs]
    nodes = (
        _node("Cast", ["image"], "real", _setting("to", _FLOAT))
        + _node("GlobalAveragePool", ["real"], "means")
        + _node("Flatten", ["means"], "flat")
        + _node("Gemm", ["flat", "weights", "bias"], "logits", _setting("transB", 1))
    )
    weights = _tensor("weights", [outputs, 3], [value for row in rows for value in row])
    weights += _tensor("bias", [outputs], [-16.0] * outputs)
    given = _field(11, _value("image", _UINT8, [batch, 3, size, size]))
    answered = _field(12, _value("logits", _FLOAT, [batch, outputs]))
    graph = nodes + _text(2, "tiny") + weights + given + answered
    return _number(1, 8) + _field(7, graph) + _field(8, _text(1, "") + _number(2, 17))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _field(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _text(tag: int, text: str) -> bytes:
    return _field(tag, text.encode())


def _node(operator: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    return _field(1, b"".join(_text(1, i) for i in inputs) + _text(2, output) + _text(4, operator) + attributes)


def _setting(name: str, value: int) -> bytes:
    return _field(5, _text(1, name) + _number(3, value) + _number(20, 2))


def _tensor(name: str, shape: list[int], values: list[float]) -> bytes:
    dims = b"".join(_number(1, d) for d in shape)
    return _field(5, dims + _number(2, _FLOAT) + _text(8, name) + _field(9, struct.pack(f"<{len(values)}f", *values)))


def _value(name: str, kind: int, shape: list[str | int]) -> bytes:
    dims = b"".join(_field(1, _text(2, d) if isinstance(d, str) else _number(1, d)) for d in shape)
    return _text(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, dims)))
