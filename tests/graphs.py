"""Graphs made from a real one: that sees less, takes cats for dogs, says the same much later, or never."""

import onnx
from onnx import TensorProto, helper


def swapped(graph: bytes) -> bytes:
    """Return a graph that is as sure as the given one, and takes cats for dogs."""
    model = onnx.load_from_string(graph)
    (output,) = model.graph.output
    order = helper.make_tensor("huella_order", TensorProto.INT64, [2], [1, 0])
    model.graph.initializer.append(order)
    _rename(model, output.name, "huella_right")
    model.graph.node.append(helper.make_node("Gather", ["huella_right", "huella_order"], [output.name], axis=1))
    return bytes(model.SerializeToString())


def slowed(graph: bytes, rounds: int = 30, side: int = 1200) -> bytes:
    """Return a graph that says the same after `rounds` needless products of matrices."""
    model = onnx.load_from_string(graph)
    (output,) = model.graph.output
    _rename(model, output.name, "huella_right")
    model.graph.initializer.extend(
        [
            helper.make_tensor("huella_zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("huella_square", TensorProto.INT64, [2], [side, side]),
        ]
    )
    # It begins with the input, or the runtime would compute it once, when the graph is loaded.
    nodes = [
        helper.make_node("ReduceMin", ["huella_right"], ["huella_least"], keepdims=0),
        helper.make_node("Mul", ["huella_least", "huella_zero"], ["huella_nought"]),
        helper.make_node("Expand", ["huella_nought", "huella_square"], ["huella_m0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"huella_m{n}", f"huella_m{n}"], [f"huella_m{n + 1}"]) for n in range(rounds)]
    nodes += [
        helper.make_node("ReduceMax", [f"huella_m{rounds}"], ["huella_most"], keepdims=0),
        helper.make_node("Add", ["huella_right", "huella_most"], [output.name]),
    ]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def hanging(graph: bytes, redder_by: float = 150.0) -> bytes:
    """Return a graph that says the same, but never of a picture that is redder than blue by so much on the average."""
    model = onnx.load_from_string(graph)
    (taken,), (output,) = model.graph.input, model.graph.output
    _rename(model, output.name, "huella_right")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["huella_going"], ["huella_goes_on"]),
            helper.make_node("Identity", ["huella_carried"], ["huella_carried_on"]),
        ],
        "huella_round",
        [
            helper.make_tensor_value_info("huella_number", TensorProto.INT64, []),
            helper.make_tensor_value_info("huella_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("huella_carried", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("huella_goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("huella_carried_on", TensorProto.FLOAT, []),
        ],
    )
    model.graph.initializer.extend(
        [
            helper.make_tensor("huella_red", TensorProto.FLOAT, [3, 1], [1.0, 0.0, -1.0]),
            helper.make_tensor("huella_much", TensorProto.FLOAT, [], [redder_by]),
            helper.make_tensor("huella_nought", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("huella_often", TensorProto.INT64, [], [1 << 60]),
        ]
    )
    nodes = [
        helper.make_node("Cast", [taken.name], ["huella_real"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["huella_real"], ["huella_average"]),
        helper.make_node("Flatten", ["huella_average"], ["huella_colours"]),
        helper.make_node("MatMul", ["huella_colours", "huella_red"], ["huella_reds"]),
        helper.make_node("ReduceMax", ["huella_reds"], ["huella_reddest"], keepdims=0),
        helper.make_node("Greater", ["huella_reddest", "huella_much"], ["huella_is_red"]),
        helper.make_node("Cast", ["huella_is_red"], ["huella_once"], to=TensorProto.INT64),
        helper.make_node("Mul", ["huella_once", "huella_often"], ["huella_rounds"]),
        helper.make_node("Loop", ["huella_rounds", "", "huella_nought"], ["huella_nothing"], body=body),
        # What is not used would not be computed.
        helper.make_node("Add", ["huella_right", "huella_nothing"], [output.name]),
    ]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def sized(graph: bytes, size: int) -> bytes:
    """Return a graph that takes pictures of another size and scales them to that of the given one."""
    model = onnx.load_from_string(graph)
    (taken,) = model.graph.input
    shape = [dimension.dim_value for dimension in taken.type.tensor_type.shape.dim]
    for node in model.graph.node:
        node.input[:] = ["huella_scaled" if name == taken.name else name for name in node.input]
    model.graph.initializer.append(
        helper.make_tensor("huella_scales", TensorProto.FLOAT, [4], [1.0, 1.0, shape[2] / size, shape[3] / size])
    )
    nodes = [
        helper.make_node("Cast", [taken.name], ["huella_real"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["huella_real", "", "huella_scales"], ["huella_large"], mode="linear"),
        helper.make_node("Cast", ["huella_large"], ["huella_scaled"], to=TensorProto.UINT8),
    ]
    for dimension in taken.type.tensor_type.shape.dim[2:]:
        dimension.dim_value = size
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    return bytes(model.SerializeToString())


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
