from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.model.architectures import build
from shared.model.errors import CutError
from shared.model.onnx_file import load_model
from shared.model.partitioned_model import build_model
from shared.model.segment_graph import segment_bounds, segment_graph
from tests.support.graphs import random_graph
from tests.support.onnx_texts import onnx_bytes

TINY = build_model(build("tiny"), sha256="")


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (3, 2), (-1, 3), (0, 8), (7, 8)])
def test_ranges_that_do_not_exist(start: int, stop: int) -> None:
    with pytest.raises(CutError, match=r"blocks \[0, 7\)"):
        segment_graph(TINY, start, stop)


def test_a_segment_has_only_its_own_weights() -> None:
    segment = segment_graph(TINY, 3, 5)
    assert set(segment.weights) == {"conv2.weight", "conv2.bias"}
    assert segment.inputs == ("residual.add.relu",)
    assert segment.outputs == ("pool2",)


def test_the_whole_range_is_the_whole_model() -> None:
    segment = segment_graph(TINY, 0, 7)
    assert segment.nodes == TINY.graph.nodes
    assert segment.weights.keys() == TINY.graph.weights.keys()


def test_shared_constants_are_repeated() -> None:
    data = onnx_bytes(
        """g (float[1,4] x) => (float[1,4] y) {
            s = Constant <value = int64[2] {4, 4}> ()
            w = ConstantOfShape <value = float[1] {0.5}> (s)
            a = MatMul(x, w) b = Softmax(a) y = MatMul(b, w)
            }"""
    )
    model = load_model(data)
    for index, expected in enumerate([["ConstantOfShape", "MatMul"], ["Softmax"], ["ConstantOfShape", "MatMul"]]):
        kinds = [node.op_type for node in segment_graph(model, index, index + 1).nodes]
        assert [kind for kind in kinds if kind != "Constant"] == expected


@pytest.mark.parametrize(
    ("cuts", "bounds"),
    [((), ((0, 7),)), ((3,), ((0, 3), (3, 7))), ((1, 2, 6), ((0, 1), (1, 2), (2, 6), (6, 7)))],
)
def test_cuts_to_segments(cuts: tuple[int, ...], bounds: tuple[tuple[int, int], ...]) -> None:
    assert segment_bounds(TINY, cuts) == bounds


@pytest.mark.parametrize("cuts", [(0,), (7,), (-1,), (2, 9)])
def test_cuts_that_do_not_exist(cuts: tuple[int, ...]) -> None:
    with pytest.raises(CutError, match="has cuts 1 to 6"):
        segment_bounds(TINY, cuts)


@pytest.mark.parametrize("cuts", [(3, 3), (4, 2)])
def test_cuts_have_to_ascend(cuts: tuple[int, ...]) -> None:
    with pytest.raises(CutError, match="ascend"):
        segment_bounds(TINY, cuts)


def test_a_model_without_cuts_says_so() -> None:
    model = load_model(onnx_bytes("g (float[1] x) => (float[1] y) {y = Relu(x)}"))
    with pytest.raises(CutError, match="it has none"):
        segment_bounds(model, (1,))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_segments_of_random_graphs_fit_together(seed: int, k: int) -> None:
    graph = random_graph(seed)
    model = build_model(graph, sha256="", max_cut_tensors=k)
    count = model.partition.block_count
    assume(count > 1)
    segments = [segment_graph(model, index, index + 1) for index in range(count)]
    assert segments[0].inputs == graph.inputs
    assert segments[-1].outputs == graph.outputs
    assert all(before.outputs == after.inputs for before, after in pairwise(segments))
    assert [node for segment in segments for node in segment.nodes] == list(model.partition.active.nodes)
    assert all(1 <= len(cut.tensors) <= k for cut in model.analysis.cuts)
