"""Automatic padding becomes the numbers of the ONNX specification."""

import numpy as np
import pytest

from shared.model.onnx_file import load_model
from shared.model.tiles.kernel_windows import KernelWindow, kernel_window, transposed_window
from tests.support.onnx_texts import onnx_bytes


def window(node: str, kernel: tuple[int, ...] = (4, 4, 3, 3)) -> KernelWindow:
    text = f"g (float[1,4,8,8] x) => (float[1,c,h,w] y) {{y = {node}}}"
    graph = load_model(onnx_bytes(text, w=np.zeros(kernel, np.float32))).graph
    return kernel_window(graph, graph.nodes[0])


@pytest.mark.parametrize(
    ("attributes", "pads"),
    [
        ("group = 1", (0, 0, 0, 0)),
        ('auto_pad = "VALID"', (0, 0, 0, 0)),
        ("pads = [1,2,0,1]", (1, 2, 0, 1)),
        ('auto_pad = "SAME_UPPER"', (1, 1, 1, 1)),
        ('auto_pad = "SAME_UPPER", strides = [2,2]', (0, 0, 1, 1)),
        ('auto_pad = "SAME_LOWER", strides = [2,2]', (1, 1, 0, 0)),
    ],
)
def test_pads(attributes: str, pads: tuple[int, ...]) -> None:
    assert window(f"Conv <{attributes}> (x, w)").pads == pads


def test_dilation_widens_the_kernel() -> None:
    assert window("Conv <dilations = [3,1]> (x, w)").extents == (7, 3)


def test_sizes_that_are_rounded_up_leave_out_windows_behind_the_image() -> None:
    pool = KernelWindow((1, 2), (2, 2), (0, 0, 0, 0), ceil=True)
    assert pool.counts((6, 7)) == (3, 4)
    assert KernelWindow((1, 2), (2, 2), (0, 0, 0, 0)).counts((6, 7)) == (3, 3)


@pytest.mark.parametrize(("auto_pad", "pads"), [("SAME_UPPER", (0, 0, 1, 1)), ("SAME_LOWER", (1, 1, 0, 0))])
def test_transposed_convolutions_cut_off_what_exceeds_the_stated_size(auto_pad: str, pads: tuple[int, ...]) -> None:
    text = "g (float[1,4,8,8] x) => (float[1,c,h,w] y) {y = ConvTranspose "
    text += f'<strides = [2,2], auto_pad = "{auto_pad}"> (x, w)}}'
    graph = load_model(onnx_bytes(text, w=np.zeros((4, 4, 3, 3), np.float32))).graph
    found, added = transposed_window(graph, graph.nodes[0])
    assert (found.pads, added) == (pads, (0, 0))
