"""Rows propagate backward through chains and branches; what needs every row is named."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

from shared.model.architectures import build
from shared.model.errors import TileError
from shared.model.onnx_file import load_model
from shared.model.tiles.tile_plan import SegmentNodes, plan_tile, reach, segment_height, segment_nodes
from tests.support.onnx_texts import onnx_bytes

KERNEL = np.ones((4, 4, 3, 3), np.float32)
CONV = "Conv <pads = [1,1,1,1]>"


def segment(text: str, **constants: ArrayLike) -> SegmentNodes:
    return segment_nodes(load_model(onnx_bytes(text, constants)).graph)


def image(body: str, **constants: ArrayLike) -> SegmentNodes:
    return segment(f"g (float[1,4,16,8] x) => (float[1,c,h,w] y) {{{body}}}", **constants)


def test_two_convolutions_need_two_rows_on_each_side_but_none_beyond_a_border() -> None:
    chain = image(f"a = {CONV} (x, w) y = {CONV} (a, w)", w=KERNEL)
    assert plan_tile(chain, (0, 4)).inputs == {"x": (0, 6)}
    assert plan_tile(chain, (4, 8)).inputs == {"x": (2, 10)}
    assert plan_tile(chain, (12, 16)).inputs == {"x": (10, 16)}
    assert reach(chain, (0, 1)).inputs == {"x": (-2, 3)}


def test_a_residual_branch_takes_the_union_of_both_paths() -> None:
    plan = plan_tile(image(f"a = {CONV} (x, w) y = Add(x, a)", w=KERNEL), (4, 8))
    assert plan.held["x"].rows == (3, 9)
    assert plan.held["a"].rows == (4, 8)


def test_of_outputs_of_several_heights_the_lowest_one_counts() -> None:
    text = "g (float[1,4,16,8] x) => (float[1,4,16,8] y, float[1,4,8,4] z) "
    both = segment(text + "{ y = Relu(x) z = MaxPool <kernel_shape = [2,2], strides = [2,2]> (y) }")
    assert segment_height(both) == 8
    plan = plan_tile(both, (3, 5))
    assert plan.outputs == {"y": (6, 10), "z": (3, 5)}
    assert plan.inputs == {"x": (6, 10)}


def test_inputs_without_rows_are_needed_whole_and_passing_ones_not_at_all() -> None:
    text = "g (float[1,4,16,8] x, float[1,4,1,1] s, float[1,4,16,8] p) => (float[1,4,16,8] y, float[1,4,16,8] p) "
    plan = plan_tile(segment(text + "{ g = Sigmoid(s) y = Mul(x, g) }"), (3, 5))
    assert plan.inputs == {"x": (3, 5), "s": None}
    assert plan.outputs == {"y": (3, 5)}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("m = GlobalAveragePool(x) y = Mul(x, m)", r"'m' \(GlobalAveragePool\) needs every row of 'x'"),
        ("y = GlobalAveragePool(x)", r"'y' \(GlobalAveragePool\) averages over all rows"),
        ("f = Flatten(x) y = Relu(f)", r"'f' \(Flatten\) joins the rows"),
        ("t = Transpose <perm = [0,1,3,2]> (x) p = Pad(t, d) y = Add(x, p)", "another axis"),
    ],
)
def test_nodes_that_need_every_row_are_named(body: str, reason: str) -> None:
    constants = {"d": np.array([0, 0, 0, 0, 0, 0, 8, -8])} if "(t, d)" in body else {}
    declared = "float[n,k]" if "Flatten" in body else "float[1,c,h,w]"
    with pytest.raises(TileError, match=reason):
        plan_tile(segment(f"g (float[1,4,16,8] x) => ({declared} y) {{{body}}}", **constants), (0, 2))


def test_the_rows_of_vgg16_in_one_piece_are_all_rows_of_its_input() -> None:
    graph = build("vgg16")
    front = SegmentNodes(
        segment_nodes(graph).active,
        tuple(node for node in graph.nodes if node.op_type in ("Conv", "Relu", "MaxPool")),
        graph.inputs,
        tuple(node.outputs[0] for node in graph.nodes if node.op_type == "MaxPool")[-1:],
    )
    assert segment_height(front) == 7
    assert plan_tile(front, (0, 7)).inputs == {"input": (0, 224)}
    assert plan_tile(front, (0, 1)).inputs == {"input": (0, 122)}


def test_a_channel_shuffle_does_not_end_the_rows_but_what_follows_does() -> None:
    text = """g (float[1,4,16,8] x) => (float[n,m] y) { r = Reshape(x, five) t = Transpose <perm = [0,2,1,3,4]> (r)
        s = Reshape(t, four) y = Flatten(s) }"""
    shapes = {"five": np.array([1, 2, 2, 16, 8]), "four": np.array([1, 4, 16, 8])}
    with pytest.raises(TileError, match=r"'y' \(Flatten\) joins"):
        segment_height(segment(text, **shapes))


def test_a_kernel_that_is_an_input_forbids_tiles() -> None:
    text = "g (float[1,4,16,8] x, float[4,4,3,3] k) => (float[1,4,14,6] y) {y = Conv(x, k)}"
    with pytest.raises(TileError, match="needs every row of 'k'"):
        plan_tile(segment(text), (0, 2))


def test_outputs_that_nobody_reads_are_left_out() -> None:
    text = (
        "g (float[1,4,16,8] x) => (float[1,4,16,8] y) {d, mask = Dropout(x) y, i = MaxPool <kernel_shape = [1,1]> (d)}"
    )
    plan = plan_tile(segment(text), (0, 2))
    assert [step.node.outputs for step in plan.steps] == [("d",), ("y",)]


def test_an_output_that_holds_indices_into_the_image_is_named() -> None:
    text = "g (float[1,4,16,8] x) => (float[1,4,16,8] y, int64[1,4,16,8] i) "
    with pytest.raises(TileError, match="has a second output"):
        plan_tile(segment(text + "{y, i = MaxPool <kernel_shape = [1,1]> (x)}"), (0, 2))
