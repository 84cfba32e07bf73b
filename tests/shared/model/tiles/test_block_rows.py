"""Rows of blocks in the terms of planning contain the exact rows."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

from shared.model.architectures import build
from shared.model.errors import TileError
from shared.model.onnx_file import load_model, to_bytes
from shared.model.tiles.block_rows import BlockRows, block_rows
from shared.model.tiles.tile_plan import plan_tile, segment_nodes
from tests.support.onnx_texts import onnx_bytes


@pytest.mark.parametrize(
    ("body", "rows", "halo"),
    [
        ("y = Conv <pads = [1,1,1,1]> (x, w)", BlockRows(16, 3, 1, 1), (1, 1)),
        ("y = Conv (x, w)", BlockRows(14, 3, 1, 0), (0, 2)),
        ("a = Conv <pads = [1,1,1,1]> (x, w) y = Conv <pads = [1,1,1,1]> (a, w)", BlockRows(16, 5, 1, 2), (2, 2)),
        ("y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)", BlockRows(8, 2, 2, 0), (0, 0)),
        ("a = Conv <pads = [1,1,1,1]> (x, w) y = Concat <axis = 1> (x, a)", BlockRows(16, 3, 1, 1), (1, 1)),
        ("y = DepthToSpace <blocksize = 2> (x)", BlockRows(32, 1, 1, 0, 2), (0, 0)),
        ("y = Relu(x)", BlockRows(16), (0, 0)),
        ("y = Resize(x, , f)", BlockRows(16 * 17, 1, 1, 0, 17), (0, 0)),
    ],
)
def test_kernel_stride_and_padding_of_all_layers(body: str, rows: BlockRows, halo: tuple[int, int]) -> None:
    constants: dict[str, ArrayLike] = {"w": np.ones((4, 4, 3, 3), np.float32)} if "w)" in body else {}
    constants |= {"f": np.array([1, 1, 17, 1], np.float32)} if "f)" in body else {}
    text = f"g (float[1,4,16,8] x) => (float[1,c,h,w] y) {{{body}}}"
    found = block_rows(segment_nodes(load_model(onnx_bytes(text, constants)).graph))
    assert found == rows
    assert (found.halo_above, found.halo_below) == halo


@pytest.mark.parametrize(
    "body",
    [
        "y = ConvTranspose <strides = [2,2], pads = [1,1,1,1]> (x, w)",
        'y = Resize <mode = "linear"> (x, , s)',
        "m = MaxPool <kernel_shape = [3,3], strides = [2,1]> (x) y = Resize (m, , t)",
        "u = ConvTranspose <strides = [2,2]> (x, w) y = MaxPool <kernel_shape = [3,3], strides = [3,3]> (u)",
    ],
)
def test_the_rows_of_blocks_that_enlarge_contain_the_exact_ones(body: str) -> None:
    constants: dict[str, ArrayLike] = {"w": np.ones((4, 4, 3, 3), np.float32)} if "w)" in body else {}
    constants |= {"s": np.array([1, 1, 3, 1], np.float32)} if "s)" in body else {}
    constants |= {"t": np.array([1, 1, 2, 1], np.float32)} if "t)" in body else {}
    text = f"g (float[1,4,16,8] x) => (float[1,c,h,w] y) {{{body}}}"
    segment = segment_nodes(load_model(onnx_bytes(text, constants)).graph)
    rows = block_rows(segment)
    for top in range(rows.output_rows):
        exact = plan_tile(segment, (top, top + 1)).inputs["x"]
        assert exact is not None
        first = (top * rows.stride - rows.padding) // rows.upsampling
        last = (top * rows.stride - rows.padding + rows.kernel - 1) // rows.upsampling
        assert max(0, first) <= exact[0]
        assert min(16, last + 1) >= exact[1]
        # A superset by two rows at most.
        assert last - first + 1 <= exact[1] - exact[0] + 2 or exact[0] == 0 or exact[1] == 16


def test_blocks_of_a_model_have_rows_or_a_reason() -> None:
    blocks = load_model(to_bytes(build("tiny"))).analysis.blocks
    assert [block.rows is None for block in blocks] == [bool(block.untileable) for block in blocks]
    assert "pool3" in blocks[5].untileable


def test_an_output_that_reads_no_rows_has_no_halo() -> None:
    text = "g (float[1,4,1,8] x) => (float[1,4,16,8] y) {y = Add(x, rows)}"
    graph = load_model(onnx_bytes(text, rows=np.ones((16, 8), np.float32))).graph
    with pytest.raises(TileError, match="reads no rows"):
        block_rows(segment_nodes(graph))
