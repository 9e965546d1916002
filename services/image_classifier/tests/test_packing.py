"""Weights in 16 bits; skipped without onnx."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx: make setup-train, then make test-training")

import onnx
from onnx import helper, numpy_helper

from services.image_classifier.runtime import ort
from services.image_classifier.training.packing import packed, unpacked

_LIKE = np.logspace(-6, 2, 8)[:, None, None, None]  # filters differ much
WEIGHTS = (np.random.default_rng(3).normal(size=(8, 3, 3, 3)) * _LIKE).astype(np.float32)
WEIGHTS[2] = 0
BIAS = np.linspace(-1, 1, 8, dtype=np.float32)


@pytest.fixture
def model() -> Any:
    """One convolution."""
    shapes = [("x", [1, 3, 16, 16]), ("y", [1, 8, 16, 16])]
    given, answered = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])],
        "g",
        [given],
        [answered],
        [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(BIAS, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(model: Any) -> Any:
    x = np.random.default_rng(4).normal(size=(1, 3, 16, 16)).astype(np.float32)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_a_filter_is_rounded_by_a_65000th_of_its_greatest_weight_and_biases_not_at_all(model: Any) -> None:
    small = packed(model)
    onnx.checker.check_model(small)
    arrays = {one.name: numpy_helper.to_array(one) for one in unpacked(small).graph.initializer}
    np.testing.assert_array_equal(arrays["b"], BIAS)
    greatest = np.abs(WEIGHTS).max(axis=(1, 2, 3), keepdims=True)
    assert (np.abs(arrays["w"] - WEIGHTS) <= greatest / 65_000).all()
    assert [one.op_type for one in unpacked(small).graph.node] == ["Conv"]


def test_a_packed_graph_is_half_as_large_and_says_the_same(model: Any) -> None:
    small = packed(model)
    assert answers(small) == pytest.approx(answers(unpacked(small)), rel=1e-5, abs=1e-6)
    greatest = np.abs(answers(model)).max(axis=(0, 2, 3), keepdims=True)
    assert (np.abs(answers(small) - answers(model)) <= 1e-3 * greatest).all()
    sizes = [sum(len(one.raw_data) for one in graph.graph.initializer) for graph in (small, model)]
    assert sizes[0] < 0.6 * sizes[1]


def test_what_was_never_packed_is_unpacked_as_it_is(model: Any) -> None:
    arrays = {one.name: numpy_helper.to_array(one) for one in unpacked(model).graph.initializer}
    np.testing.assert_array_equal(arrays["w"], WEIGHTS)
    assert [one.op_type for one in unpacked(model).graph.node] == ["Conv"]
