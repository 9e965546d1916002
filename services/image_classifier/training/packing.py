"""Weights in 16 bits: half the size in the repository and on the wire, and none of the cost in service.

Each filter's weights are kept as integers of 16 bits and one scale, and the graph itself turns them back, which ONNX
Runtime does once when it loads a graph. They are rounded by a 65,000th of the filter's greatest weight at most; half
precision would round large weights by a 2,000th.
"""

from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

MOST: Final = 32_767
_WHOLE, _SCALE, _FLOAT = ".whole", ".scale", ".float"


def packed(model: Any) -> Any:
    """Give an ONNX model whose float32 weights of two and more dimensions are in 16 bits."""
    graph, kept, nodes = model.graph, [], []
    for one in graph.initializer:
        weights = numpy_helper.to_array(one)
        if weights.dtype != np.float32 or weights.ndim < 2:
            kept.append(one)
            continue
        name = one.name
        greatest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
        scale = np.maximum(greatest / MOST, np.finfo(np.float32).tiny).astype(np.float32)
        whole = np.rint(weights / scale).astype(np.int16)
        kept += [numpy_helper.from_array(whole, name + _WHOLE), numpy_helper.from_array(scale, name + _SCALE)]
        nodes += [
            helper.make_node("Cast", [name + _WHOLE], [name + _FLOAT], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [name + _FLOAT, name + _SCALE], [name]),
        ]
    return _with(model, kept, [*nodes, *graph.node])


def unpacked(model: Any) -> Any:
    """Give a model's weights back in float32; one that was never packed stays as it is."""
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    kept, gone = [], set()
    for name, array in arrays.items():
        if name.endswith(_WHOLE):
            weights = name.removesuffix(_WHOLE)
            gone |= {weights, weights + _FLOAT}
            array = array.astype(np.float32) * arrays[weights + _SCALE]
            kept.append(numpy_helper.from_array(array, weights))
        elif not name.endswith(_SCALE):
            kept.append(numpy_helper.from_array(array, name))
    return _with(model, kept, [node for node in model.graph.node if not gone & set(node.output)])


def _with(model: Any, initializers: list[Any], nodes: list[Any]) -> Any:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    del other.graph.initializer[:], other.graph.node[:]
    other.graph.initializer.extend(initializers)
    other.graph.node.extend(nodes)
    return other
