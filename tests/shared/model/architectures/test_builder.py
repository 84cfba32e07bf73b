from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.model.architectures.builder import GraphBuilder
from shared.model.onnx_file import load_model, to_bytes
from shared.model.onnx_file.runtime import ModelSession


@given(st.integers(4, 20), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_pooling_has_the_shape_that_the_runtime_gives_it(
    rows: int, kernel: int, stride: int, padding: int, ceil: bool
) -> None:
    assume(padding < kernel)
    b = GraphBuilder("pool", 0, (1, 2, rows, rows + 1))
    graph = b.finish(b.max_pool(b.input, "pool", kernel, stride, padding=padding, ceil=ceil))
    (result,) = ModelSession(to_bytes(graph)).run({"input": np.zeros((1, 2, rows, rows + 1), np.float32)}).values()
    assert result.shape == graph.tensors["pool"].shape


@pytest.mark.parametrize(
    "layer",
    [
        lambda b: b.conv(b.input, "y", 6, (1, 3), stride=2, padding=(0, 1), groups=2),
        lambda b: b.average_pool(b.input, "y", 3, 2, padding=1),
        lambda b: b.space_to_depth(b.input, "y", 2),
        lambda b: b.leaky_relu(b.input, 0.1),
        lambda b: b.relu6(b.input),
        lambda b: b.batch_norm(b.input, "y"),
        lambda b: b.concat((b.input, b.input), "y"),
        lambda b: b.linear(b.flatten(b.input), "y", 5),
        lambda b: b.global_pool(b.input, "y"),
        lambda b: b.add(b.input, b.input, "y"),
    ],
)
def test_layers_have_the_shapes_that_onnx_infers(layer: Callable[[GraphBuilder], str]) -> None:
    b = GraphBuilder("layer", 0, (1, 4, 8, 10))
    graph = b.finish(layer(b))
    assert load_model(to_bytes(graph)).graph.tensors == graph.tensors


def test_relu6_ends_at_six() -> None:
    b = GraphBuilder("clip", 0, (1, 1, 1, 3))
    graph = b.finish(b.relu6(b.input))
    result = ModelSession(to_bytes(graph)).run({"input": np.array([[[[-1, 3, 9]]]], np.float32)})
    assert result["input.relu6"].ravel().tolist() == [0, 3, 6]
