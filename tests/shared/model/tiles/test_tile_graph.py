"""Tiles of random nodes, put together, give the output of the node in one piece."""

import os
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from shared.model.errors import ModelError
from shared.model.onnx_file import load_model, to_bytes
from shared.model.onnx_file.runtime import ModelSession
from shared.model.onnx_file.verification import random_inputs
from shared.row_ranges import RowRange
from tests.support.onnx_texts import onnx_bytes
from tests.support.tiles_against_whole import difference, row_ranges

EXAMPLES = int(os.environ.get("TILE_EXAMPLES", "15"))
Drawn = tuple[str, Mapping[str, ArrayLike]]


def _kernel(draw: st.DrawFn, *, pads_below_kernel: bool = False) -> tuple[str, tuple[int, int]]:
    """Draw the attributes of a kernel; return them with its size."""
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 3)))
    parts = [f"kernel_shape = [{kernel[0]},{kernel[1]}]"]
    parts.append(f"strides = [{draw(st.integers(1, 3))},{draw(st.integers(1, 2))}]")
    padding = draw(st.sampled_from(["none", "explicit", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if padding == "explicit":
        most = [size - 1 if pads_below_kernel else size + 1 for size in kernel]
        pads = [draw(st.integers(0, limit)) for limit in (*most, *most)]
        parts.append(f"pads = [{','.join(map(str, pads))}]")
    elif padding != "none":
        parts.append(f'auto_pad = "{padding}"')
    if padding not in ("SAME_UPPER", "SAME_LOWER") and draw(st.booleans()):
        parts.append(f"dilations = [{draw(st.integers(1, 3))},{draw(st.integers(1, 2))}]")
    return ", ".join(parts), kernel


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    attributes, kernel = _kernel(draw)
    groups = draw(st.sampled_from([1, 2, 4]))
    weights = np.random.default_rng(1).standard_normal((4, 4 // groups, *kernel)).astype(np.float32)
    return f"y = Conv <{attributes}, group = {groups}> (x, w, b)", {"w": weights, "b": np.ones(4, np.float32)}


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> Drawn:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 3)))
    stride = draw(st.integers(1, 4))
    parts = [f"kernel_shape = [{kernel[0]},{kernel[1]}]", f"strides = [{stride},2]"]
    kind = draw(st.sampled_from(["explicit", "SAME_UPPER", "SAME_LOWER", "VALID", "output_shape"]))
    if kind == "explicit":
        parts.append(f"pads = [{draw(st.integers(0, 2))},0,{draw(st.integers(0, 2))},1]")
        parts.append(f"output_padding = [{draw(st.integers(0, stride - 1))},{draw(st.integers(0, 1))}]")
        parts.append(f"dilations = [{draw(st.integers(1, 2))},1]")
    elif kind == "output_shape":
        parts.append(f"output_shape = [{draw(st.integers(6 * stride, 8 * stride))},10]")
        parts.append(f'auto_pad = "{draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "NOTSET"]))}"')
    else:
        parts.append(f'auto_pad = "{kind}"')
    groups = draw(st.sampled_from([1, 2]))
    weights = np.random.default_rng(1).standard_normal((4, 2, *kernel)).astype(np.float32)
    text = f"y = ConvTranspose <{', '.join(parts)}, group = {groups}> (x, w, b)"
    return text, {"w": weights, "b": np.ones(2 * groups, np.float32)}


@st.composite
def poolings(draw: st.DrawFn) -> Drawn:
    attributes, _ = _kernel(draw, pads_below_kernel=True)
    operator = draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool"]))
    if operator != "LpPool" and draw(st.booleans()):
        attributes += ", ceil_mode = 1"
    if operator == "AveragePool" and draw(st.booleans()):
        attributes += ", count_include_pad = 1"
    if operator != "MaxPool":
        attributes = ", ".join(part for part in attributes.split(", ") if not part.startswith("dilations"))
    return f"y = {operator} <{attributes}> (x)", {}


@st.composite
def paddings(draw: st.DrawFn) -> Drawn:
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    pads = [0, 0, draw(st.integers(-2, 4)), draw(st.integers(0, 2)), 0, 0, draw(st.integers(-2, 4)), 1]
    return f'y = Pad <mode = "{mode}"> (x, pads)', {"pads": np.array(pads)}


@st.composite
def resizes(draw: st.DrawFn) -> Drawn:
    mode = draw(st.sampled_from(["nearest", "linear"]))
    transform = draw(st.sampled_from(["asymmetric", "half_pixel", "pytorch_half_pixel"]))
    rounding = draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    attributes = f'mode = "{mode}", coordinate_transformation_mode = "{transform}", nearest_mode = "{rounding}"'
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    if draw(st.booleans()):
        return f"y = Resize <{attributes}> (x, , scales)", {"scales": np.array([1, 1, rows, columns], np.float32)}
    return f"y = Resize <{attributes}> (x, , , sizes)", {"sizes": np.array([1, 4, 7 * rows, 6 * columns])}


# Nodes that keep the rows in place or move whole rows, with their constants.
REARRANGEMENTS: list[Drawn] = [
    ("y = DepthToSpace <blocksize = 2> (x)", {}),
    ('y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)', {}),
    ("p = Pad(x, pads) y = SpaceToDepth <blocksize = 2> (p)", {"pads": np.array([0, 0, 1, 0, 0, 0, 0, 0])}),
    ("y = LRN <size = 3> (x)", {}),
    ("y = Softmax <axis = 1> (x)", {}),
    ("y = Add(x, rows)", {"rows": np.arange(7, dtype=np.float32).reshape(7, 1)}),
    ("y = Mul(x, one)", {"one": np.ones((4, 1, 1), np.float32)}),
    ("y = BatchNormalization(x, v, v, v, v)", {"v": np.ones(4, np.float32)}),
    ("t = Cast <to = 10> (x) c = Clip(t) y = Cast <to = 1> (c)", {}),
    ("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", {"s": np.float32(0.05), "z": np.uint8(128)}),
    (
        "a, b = Split <axis = 1> (x) m = MaxPool <kernel_shape = [3,3]> (b) p = Pad(m, pads) "
        "y = Concat <axis = 1> (p, a)",
        {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    ),
    (
        "r = Reshape(x, five) t = Transpose <perm = [0,2,1,3,4]> (r) y = Reshape(t, four)",
        {"five": np.array([1, 2, 2, 7, 6]), "four": np.array([0, 4, 7, 6])},
    ),
    (
        "t = Transpose <perm = [0,2,3,1]> (x) l = LayerNormalization(t, v) m = MatMul(l, w) "
        "y = Transpose <perm = [0,3,1,2]> (m)",
        {"v": np.ones(4, np.float32), "w": np.arange(20, dtype=np.float32).reshape(4, 5)},
    ),
    ("m = ReduceMean <axes = [1]> (x) y = Mul(x, m)", {}),
    ("m = ReduceMax <axes = [1], keepdims = 0> (x) u = Unsqueeze(m, one) y = Add(x, u)", {"one": np.array([1])}),
    (
        "g = Gather <axis = 1> (x, i) s = Slice(g, one, two, one) y = Concat <axis = 1> (s, x)",
        {"i": np.array([3, 0, 2]), "one": np.array([1]), "two": np.array([2])},
    ),
    ("c = Conv <pads = [1,1,1,1]> (x, w) r = Relu(c) y = Add(x, r)", {"w": np.ones((4, 4, 3, 3), np.float32)}),
    (
        "a = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (x) b = Concat <axis = 1> (x, a) "
        "c = MaxPool <kernel_shape = [5,5], pads = [2,2,2,2]> (b) y = Concat <axis = 1> (b, c)",
        {},
    ),
]


def _check(drawn: Drawn, draw: Callable[[st.SearchStrategy[tuple[RowRange, ...]]], tuple[RowRange, ...]]) -> None:
    body, constants = drawn
    try:
        graph = load_model(onnx_bytes(f"g (float[1,4,7,6] x) => (float[1,c,h,w] y) {{{body}}}", constants)).graph
        whole = ModelSession(to_bytes(graph)).run(random_inputs(graph.describe(graph.inputs), 0))["y"]
    except ModelError:
        # The runtime refuses some combinations of attributes.
        assume(False)
    # Shape inference and the runtime round sizes up in different ways.
    assume(graph.tensor("y").shape == whole.shape)
    height = whole.shape[2]
    assume(height > 1)
    ranges = draw(row_ranges(height))
    found, _ = difference(graph, ranges)
    assert found.max_rel_error <= 1e-5, (body, ranges)


@pytest.mark.parametrize(
    "nodes",
    [convolutions(), transposed_convolutions(), poolings(), paddings(), resizes(), st.sampled_from(REARRANGEMENTS)],
    ids=["convolution", "transposed convolution", "pooling", "padding", "resize", "rearrangement"],
)
def test_tiles_of_random_nodes(nodes: st.SearchStrategy[Drawn]) -> None:
    @settings(max_examples=EXAMPLES)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        _check(data.draw(nodes), data.draw)

    run()
