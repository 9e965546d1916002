"""A real model version of a few hundred bytes, for tests: red is a cat, blue a dog, violet both, dark green neither.

The ONNX file is written by hand (protobuf is tags, lengths and bytes), so that tests need neither torch nor onnx.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

SIZE = 32
_FLOAT, _UINT8, _INT64, _BOOL = 1, 2, 7, 9


def write_tiny_model(
    folder: Path, name: str = "tiny", version: str = "1", graph: bytes | None = None, **changes: Any
) -> Path:
    """Write `model.onnx` and `manifest.json` into a folder, and give it; `changes` replace fields of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = graph if graph is not None else tiny_graph()
    (folder / "model.onnx").write_bytes(graph)
    manifest = tiny_manifest(graph, name, version) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def tiny_manifest(graph: bytes, name: str = "tiny", version: str = "1") -> dict[str, Any]:
    """Give the manifest of a tiny graph."""
    thresholds = {"present_above": 0.6, "absent_below": 0.4}
    calibration = {"temperature": 1.0, "bias": 0.0}
    return {
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


def tiny_graph(
    size: int = SIZE,
    batch: str | int = "n",
    outputs: int = 2,
    swapped: bool = False,
    operator: str = "GlobalAveragePool",
    extra: bytes = b"",
    pooled: str = "real",
) -> bytes:
    """Give the ONNX graph logit = (mean of red or blue - 128) / 8; `swapped` takes cats for dogs."""
    rows = ([1 / 8, 0.0, 0.0], [0.0, 0.0, 1 / 8])[:outputs]
    if swapped:
        rows = rows[::-1]
    nodes = (
        _node("Cast", ["image"], "real", _setting("to", _FLOAT))
        + extra
        + _node(operator, [pooled], "means")
        + _node("Flatten", ["means"], "flat")
        + _node("Gemm", ["flat", "weights", "bias"], "logits", _setting("transB", 1))
    )
    weights = _tensor("weights", [outputs, 3], [value for row in rows for value in row])
    weights += _tensor("bias", [outputs], [-16.0] * outputs)
    given = _field(11, _value("image", _UINT8, [batch, 3, size, size]))
    answered = _field(12, _value("logits", _FLOAT, [batch, outputs]))
    graph = nodes + _text(2, "tiny") + weights + given + answered
    return _number(1, 8) + _field(7, graph) + _field(8, _text(1, "") + _number(2, 17))


def slow_graph(side: int = 1500, rounds: int = 8, swapped: bool = False) -> bytes:
    """Give the same graph after `rounds` needless products of matrices of `side` by `side`, which change nothing."""
    extra = _node("ReduceMin", ["real"], "least", _setting("keepdims", 0))
    extra += _node("Min", ["least", "zero"], "nought") + _node("Expand", ["nought", "square"], "m0")
    for n in range(rounds):
        extra += _node("MatMul", [f"m{n}", f"m{n}"], f"m{n + 1}")
    extra += _node("ReduceMax", [f"m{rounds}"], "most", _setting("keepdims", 0)) + _node(
        "Add", ["real", "most"], "same"
    )
    extra += _tensor("zero", [], [0.0]) + _integers("square", [side, side])
    return tiny_graph(swapped=swapped, extra=extra, pooled="same")


def hanging_graph() -> bytes:
    """Give the same graph, that is done with a batch in some thousand years if one of its pictures is red."""
    extra = _node("GlobalAveragePool", ["real"], "average") + _node("Flatten", ["average"], "colours")
    extra += _node("MatMul", ["colours", "red"], "reds") + _node(
        "ReduceMax", ["reds"], "reddest", _setting("keepdims", 0)
    )
    extra += _node("Greater", ["reddest", "much"], "is_red") + _node("Cast", ["is_red"], "once", _setting("to", _INT64))
    extra += _node("Mul", ["once", "often"], "rounds")
    # It carries a nought from round to round, which is then added: what is not used would not be computed.
    body = _node("Identity", ["going"], "goes_on") + _node("Identity", ["carried"], "carried_on") + _text(2, "round")
    body += _field(11, _value("round_number", _INT64, [])) + _field(11, _value("going", _BOOL, []))
    body += _field(11, _value("carried", _FLOAT, []))
    body += _field(12, _value("goes_on", _BOOL, [])) + _field(12, _value("carried_on", _FLOAT, []))
    rounds = _field(5, _text(1, "body") + _field(6, body) + _number(20, 5))
    extra += _node("Loop", ["rounds", "", "nought"], "nothing", rounds) + _node("Add", ["real", "nothing"], "same")
    extra += _tensor("red", [3, 1], [1.0, 0.0, -1.0]) + _tensor("much", [], [150.0]) + _tensor("nought", [], [0.0])
    extra += _field(5, _number(2, _INT64) + _text(8, "often") + _field(9, struct.pack("<q", 1 << 60)))
    return tiny_graph(extra=extra, pooled="same")


def external_graph(path: str) -> bytes:
    """Give a graph that answers with the bytes of a file of 256: those at the places that a picture's means name."""
    settings = (("location", path), ("offset", "0"), ("length", "256"))
    place = b"".join(_field(13, _text(1, key) + _text(2, value)) for key, value in settings)
    extra = _field(5, _number(1, 256) + _number(2, _UINT8) + _text(8, "outside") + place + _number(14, 1))
    extra += _node("GlobalAveragePool", ["real"], "average") + _node("Flatten", ["average"], "colours")
    extra += _node("Cast", ["colours"], "places", _setting("to", _INT64))
    extra += _node("Gather", ["outside", "places"], "bytes") + _node("Cast", ["bytes"], "told", _setting("to", _FLOAT))
    return tiny_graph(extra=extra, operator="Identity", pooled="told")


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


def _integers(name: str, values: list[int]) -> bytes:
    content = struct.pack(f"<{len(values)}q", *values)
    return _field(5, _number(1, len(values)) + _number(2, _INT64) + _text(8, name) + _field(9, content))


def _value(name: str, kind: int, shape: list[str | int]) -> bytes:
    dims = b"".join(_field(1, _text(2, d) if isinstance(d, str) else _number(1, d)) for d in shape)
    return _text(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, dims)))
