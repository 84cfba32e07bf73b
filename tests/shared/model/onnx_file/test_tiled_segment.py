"""Segments as tiles: their files, and what they make together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model.architectures import build
from shared.model.errors import TileError
from shared.model.graph import Graph
from shared.model.onnx_file import load_model, to_bytes
from shared.model.onnx_file.runtime import Optimisation
from shared.model.onnx_file.tiled_segment import ranges_fault, tile_segment
from shared.model.segment_graph import segment_graph
from tests.support.onnx_texts import onnx_bytes, read_back
from tests.support.shared_paths import DEMO_DATA
from tests.support.tiles_against_whole import difference, row_ranges

SQUEEZENET = load_model(DEMO_DATA / "squeezenet1.1.onnx")


@settings(max_examples=4)
@given(st.data())
def test_tiles_of_the_demo_s_model_are_bit_exact(data: st.DataObject) -> None:
    start, stop = data.draw(st.sampled_from([(0, 5), (5, 14), (0, 21)]))
    segment = segment_graph(SQUEEZENET, start, stop)
    ranges = data.draw(row_ranges(segment.tensor(segment.outputs[0]).shape[2]))
    found, _ = difference(segment, ranges)
    assert found.bit_exact, (start, stop, ranges)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2"])
def test_tiles_of_residual_blocks(name: str) -> None:
    """Kernels that depend on the neighbours of a node round differently; without them all bits are equal."""
    segment = segment_graph(load_model(to_bytes(build(name))), 0, 4)
    height = segment.tensor(segment.outputs[0]).shape[2]
    ranges = ((0, 5), (5, 30), (30, height))
    assert difference(segment, ranges)[0].max_rel_error <= 1e-6
    assert difference(segment, ranges, Optimisation.EXTENDED)[0].max_rel_error <= 1e-6


def test_several_tensors_at_both_ends_and_one_that_passes() -> None:
    text = """g (float[1,4,16,8] x, float[1,4,32,8] p, float[1,4,1,1] s) =>
        (float[1,4,32,8] p, float[1,4,16,8] y, float[1,4,8,8] z)
        { a = Mul(x, s) y = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (a)
          b = AveragePool <kernel_shape = [2,1], strides = [2,1]> (a)
          c = MaxPool <kernel_shape = [4,1], strides = [4,1]> (p) z = Add(b, c) }"""
    found, tiled = difference(load_model(onnx_bytes(text)).graph, ((0, 3), (3, 8)))
    assert found.max_rel_error <= 1e-6
    assert tiled.passing == ("p",)
    assert [tile.outputs for tile in tiled.tiles] == [{"y": (0, 6), "z": (0, 3)}, {"y": (6, 16), "z": (3, 8)}]
    assert [tile.inputs for tile in tiled.tiles] == [
        {"x": (0, 7), "p": (0, 12), "s": None},
        {"x": (5, 16), "p": (12, 32), "s": None},
    ]


def test_names_that_the_model_has_already() -> None:
    taken = {"a": "x/rows_0_9", "b": "y/with_halo", "c": "x/rows_0_8"}
    text = """g (float[1,4,16,8] x) => (float[1,4,16,8] y, float[1,4,16,8] z)
        { a = Relu(x) y = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (x) b = Abs(y) c = Add(a, b)
          m = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (y) z = Sum(x, m, c) }"""
    model = read_back(onnx_bytes(text))
    for node in model.graph.node:
        node.input[:] = [taken.get(name, name) for name in node.input]
        node.output[:] = [taken.get(name, name) for name in node.output]
    assert difference(load_model(model.SerializeToString()).graph, ((0, 8), (8, 16)))[0].bit_exact


def test_images_with_channels_last_have_their_rows_along_another_axis() -> None:
    text = "g (float[1,16,8,4] x) => (float[1,4,16,8] y) { t = Transpose <perm = [0,3,1,2]> (x) "
    graph = load_model(onnx_bytes(text + "y = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (t) }")).graph
    found, tiled = difference(graph, ((0, 5), (5, 16)))
    assert found.bit_exact
    assert tiled.row_axes == {"x": 1, "y": 2}
    assert tiled.tiles[0].inputs == {"x": (0, 6)}


def small(body: str) -> Graph:
    text = f"g (float[1,4,16,8] x) => (float[1,4,16,8] y) {{{body}}}"
    return load_model(onnx_bytes(text)).graph


def test_files_are_valid_and_have_padding_at_true_borders_only() -> None:
    tiled = tile_segment(small("y = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (x)"), ((0, 4), (4, 16)))
    pads = [list(read_back(tile.data).graph.node[0].attribute[-1].ints) for tile in tiled.tiles]
    assert pads == [[1, 1, 0, 1], [0, 1, 1, 1]]
    assert [tile.inputs for tile in tiled.tiles] == [{"x": (0, 5)}, {"x": (3, 16)}]


@pytest.mark.parametrize(
    ("ranges", "fault"),
    [
        ([(0, 8), (7, 16)], "rows [7, 8) belong to two tiles"),
        ([(0, 8), (9, 16)], "rows [8, 9) belong to no tile"),
        ([(1, 16)], "rows [0, 1) belong to no tile"),
        ([(0, 15)], "rows [15, 16) belong to no tile"),
        ([(0, 8), (8, 20)], "rows [8, 20) lie beyond its output, which has 16 rows"),
        ([(-1, 8), (8, 16)], "rows [-1, 8) lie beyond its output, which has 16 rows"),
        ([(0, 8), (8, 8), (8, 16)], "rows [8, 8) are none: leave the tile out"),
        ([], "rows [0, 16) belong to no tile"),
    ],
)
def test_ranges_have_to_make_every_row_once(ranges: list[tuple[int, int]], fault: str) -> None:
    assert ranges_fault(ranges, 16) == fault
    with pytest.raises(TileError):
        tile_segment(small("y = Relu(x)"), ranges)


def test_ranges_may_come_in_any_order() -> None:
    assert difference(small("y = Relu(x)"), ((9, 16), (0, 9)))[0].bit_exact
