from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from shared.model.architectures import build
from shared.model.cuts import all_cuts, find_partition
from shared.model.errors import CutError, UnsupportedModelError
from shared.model.graph import Graph
from shared.model.liveness import activate, live_sets
from shared.model.onnx_file import load_model
from tests.support.graphs import random_graph
from tests.support.onnx_texts import onnx_bytes

KERNEL = np.zeros((4, 4, 3, 3), np.float32)
SQUARE = np.zeros((4, 4), np.float32)
IMAGE = "(float[1,4,8,8] x)"


def operators(text: str, max_tensors: int | None = 1, **initializers: ArrayLike) -> list[list[str]]:
    graph = load_model(onnx_bytes(text, initializers)).graph
    partition = find_partition(activate(graph), max_tensors)
    types = [node.op_type for node in partition.active.nodes]
    ends = partition.positions
    return [types[start:stop] for start, stop in pairwise(ends)]


@pytest.mark.parametrize(
    ("name", "every", "useful"),
    [
        ("alexnet", 18, 10),
        ("vgg16", 36, 20),
        ("resnet18", 22, 11),
        ("resnet50", 38, 19),
        ("mobilenetv2", 71, 33),
        ("squeezenet", 32, 21),
        ("googlenet", 24, 17),
        ("inceptionv3", 30, 19),
        ("tiny", 11, 6),
    ],
)
def test_numbers_of_cuts(name: str, every: int, useful: int) -> None:
    active = activate(build(name))
    assert len(all_cuts(live_sets(active), 1)) == every
    assert find_partition(active).block_count - 1 == useful


def test_no_cut_inside_convolution_normalisation_activation() -> None:
    text = f"""g {IMAGE} => (float[1,4,4,4] y) {{
        a = Conv(x, k) b = BatchNormalization(a, v, v, v, v) c = Relu(b) y = Conv(c, k)
        }}"""
    found = operators(text, k=KERNEL, v=np.ones(4, np.float32))
    assert found == [["Conv", "BatchNormalization", "Relu"], ["Conv"]]


def test_no_cut_inside_an_activation_of_several_operators() -> None:
    text = f"g {IMAGE} => (float[1,4,4,4] y) {{a = Conv(x, k) s = Sigmoid(a) b = Mul(a, s) y = Conv(b, k)}}"
    assert operators(text, k=KERNEL) == [["Conv", "Sigmoid", "Mul"], ["Conv"]]


@pytest.mark.parametrize("number", [10, 16])
def test_no_cut_where_a_tensor_of_a_type_without_numpy_counterpart_crosses(number: int) -> None:
    """10 is float16, 16 is bfloat16. The cheapest cut would be at the narrow tensor."""
    text = f"""g {IMAGE} => (float[1,4,4,4] y) {{
        a = Conv(x, k) n = Cast <to = {number}> (a) f = Cast <to = 1> (n) y = Conv(f, k)
        }}"""
    crossing = [cut.tensors[0].name for cut in load_model(onnx_bytes(text, k=KERNEL)).analysis.cuts]
    assert ("n" in crossing) == (number == 10)
    assert len(crossing) >= 1


def test_padding_goes_with_what_follows() -> None:
    text = f"g {IMAGE} => (float[1,4,8,8] y) {{a = Conv(x, k) b = Relu(a) p = Pad(b, pads) y = Conv(p, k)}}"
    found = operators(text, k=KERNEL, pads=np.array([0, 0, 2, 2, 0, 0, 2, 2]))
    assert found == [["Conv", "Relu"], ["Pad", "Conv"]]


def test_a_quantised_tensor_is_cut_where_it_is_small() -> None:
    text = f"""g {IMAGE} => (float[1,4,4,4] y) {{
        a = Conv(x, k) q = QuantizeLinear(a, s, z) d = DequantizeLinear(q, s, z) y = Conv(d, k)
        }}"""
    found = operators(text, k=KERNEL, s=np.float32(0.1), z=np.uint8(128))
    assert found == [["Conv", "QuantizeLinear"], ["DequantizeLinear", "Conv"]]


def test_conversion_of_the_input_goes_with_the_first_layer() -> None:
    text = "g (uint8[1,4,8,8] x) => (float[1,4,4,4] y) {f = Cast <to = 1> (x) a = Conv(f, k) y = Conv(a, k)}"
    assert operators(text, k=KERNEL) == [["Cast", "Conv"], ["Conv"]]


def test_an_enlargement_at_the_end_is_a_block_of_its_own() -> None:
    text = f"g {IMAGE} => (float[1,4,12,12] y) {{a = Conv(x, k) y = Resize(a, , s)}}"
    assert operators(text, k=KERNEL, s=np.array([1, 1, 2, 2], np.float32)) == [["Conv"], ["Resize"]]


def test_more_tensors_allow_cuts_between_branches() -> None:
    text = "g (float[1,4] x) => (float[1,4] y) {a = MatMul(x, w) s = Softmax(a) t = MatMul(s, w) y = Add(t, x)}"
    assert operators(text, 1, w=SQUARE) == [["MatMul", "Softmax", "MatMul", "Add"]]
    assert operators(text, 2, w=SQUARE) == [["MatMul"], ["Softmax"], ["MatMul", "Add"]]


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_more_tensors_only_add_cuts(name: str) -> None:
    active = activate(build(name))
    one, two, three = (set(all_cuts(live_sets(active), k)) for k in (1, 2, 3))
    assert one < two <= three


def crossing(text: str, **initializers: ArrayLike) -> list[set[str]]:
    """Return the tensors at each cut where no number of tensors is given."""
    cuts = load_model(onnx_bytes(text, initializers)).analysis.cuts
    return [{tensor.name for tensor in cut.tensors} for cut in cuts]


def test_a_mask_that_accompanies_every_layer_prevents_no_cut() -> None:
    text = """g (float[1,32,64] x, float[1,32,1] mask) => (float[1,32,64] y) {
        a = MatMul(x, w) b = Mul(a, mask) s = Softmax(b) c = MatMul(s, v) d = Mul(c, mask) y = Softmax(d)
        }"""
    found = crossing(text, w=np.zeros((64, 64), np.float32), v=np.zeros((64, 64), np.float32))
    assert {"mask", "b"} in found


def test_states_of_a_recurrent_model_prevent_no_cut() -> None:
    state = "float[1,1,8]"
    text = f"""g (float[1,8,256] x, {state} h, {state} c) => (float[1,1,8,8] y, {state} hn, {state} cn) {{
        a = MatMul(x, w) s = Tanh(a) t = Transpose <perm = [1, 0, 2]> (s)
        y, hn, cn = LSTM <hidden_size = 8> (t, k, r, , , h, c)
        }}"""
    found = crossing(
        text,
        w=np.zeros((256, 256), np.float32),
        k=np.zeros((1, 32, 256), np.float32),
        r=np.zeros((1, 32, 8), np.float32),
    )
    assert any({"h", "c"} < names for names in found)


def test_branches_of_two_inputs_are_divided() -> None:
    text = """g (float[1,64] p, float[1,64] q) => (float[1,64] y) {
        a = MatMul(p, w) s = Softmax(a) b = MatMul(q, v) t = Softmax(b) y = Add(s, t)
        }"""
    found = crossing(text, w=np.zeros((64, 64), np.float32), v=np.zeros((64, 64), np.float32))
    assert {"q", "s"} in found or {"q", "a"} in found


def test_more_than_three_large_tensors_do_not_cross() -> None:
    names = [f"b{index}" for index in range(5)]
    branches = " ".join(f"{name} = MatMul(x, w)" for name in names)
    text = f"g (float[1,64] x) => (float[1,64] y) {{{branches} y = Sum({', '.join(names)})}}"
    assert max((len(cut) for cut in crossing(text, w=np.zeros((64, 64), np.float32))), default=0) <= 3


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "mobilenetv2", "googlenet"])
def test_models_of_small_blocks_have_the_cuts_of_one_tensor(name: str) -> None:
    active = activate(build(name))
    assert find_partition(active).positions == find_partition(active, 1).positions


@given(st.integers(0, 2**32 - 1))
def test_a_partition_is_ascending_and_whole(seed: int) -> None:
    active = activate(random_graph(seed))
    positions = find_partition(active).positions
    assert (positions[0], positions[-1]) == (0, len(active.nodes))
    assert all(a < b for a, b in pairwise(positions))


def test_a_cut_needs_a_tensor() -> None:
    with pytest.raises(CutError, match="not 0"):
        find_partition(activate(build("tiny")), 0)


def test_a_model_that_ignores_its_input_cannot_be_cut() -> None:
    with pytest.raises(UnsupportedModelError, match="no operator leads"):
        load_model(onnx_bytes("g (float[1] x) => (float[1] y) {y = Relu(w)}", w=np.ones(1, np.float32)))


def separates(graph: Graph, tensor: str) -> bool:
    """Return by brute force whether every path from an input to an output leads through the tensor."""
    reached = set(graph.inputs) - {tensor}
    for node in graph.nodes:
        if reached.intersection(node.reads):
            reached.update(set(node.written) - {tensor})
    return not reached.intersection(graph.outputs)


@given(st.integers(0, 2**32 - 1))
def test_single_tensor_cuts_are_exactly_the_separators(seed: int) -> None:
    active = activate(random_graph(seed))
    sets = live_sets(active)
    found = {sets[position][0] for position in all_cuts(sets, 1)}
    written = {name for node in active.nodes for name in node.written}
    inner = written & {name for node in active.nodes for name in node.reads}
    assert found == {name for name in inner if separates(active.graph, name)}


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_what_is_live_is_what_is_made_before_and_needed_after(seed: int, k: int) -> None:
    active = activate(random_graph(seed))
    sets = live_sets(active)
    for position in all_cuts(sets, k):
        before = set(active.graph.inputs).union(*(node.written for node in active.nodes[:position]))
        after = set(active.graph.outputs).union(*(node.reads for node in active.nodes[position:]))
        assert set(sets[position]) == before & after
