"""Models whose functions call each other more often than a graph can hold."""

import itertools
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from shared.model.errors import ModelFileError
from shared.model.onnx_file import load_model
from shared.model.onnx_file.function_size import MAX_NODES, check_expansion


def model(levels: int, *, calls: int = 2, inside: bool = False) -> onnx.ModelProto:
    """Return a model whose functions call the next one `calls` times; `inside` in the branches of an `If`."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = []
    for level in range(levels):
        names = ["a", *(f"m{index}" for index in range(1, calls)), "b"]
        kind, domain = (f"F{level + 1}", "own") if level + 1 < levels else ("Relu", "")
        nodes = [helper.make_node(kind, [one], [other], domain=domain) for one, other in itertools.pairwise(names)]
        if inside:
            branch = helper.make_graph(nodes, "branch", [], [helper.make_empty_tensor_value_info("b")])
            nodes = [helper.make_node("If", ["a"], ["b"], then_branch=branch, else_branch=branch)]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], nodes, opsets))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("F0", ["x"], ["y"], domain="own")],
        "g",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 4])],
    )
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


@pytest.mark.parametrize("inside", [False, True])
def test_a_small_file_that_makes_millions_of_nodes_is_refused_at_once(inside: bool, tmp_path: Path) -> None:
    path = tmp_path / "laughs.onnx"
    onnx.save(model(40, inside=inside), path)
    assert path.stat().st_size < 20_000
    with pytest.raises(ModelFileError, match=f"more than {MAX_NODES} nodes"):
        load_model(path)


def test_functions_within_the_bound_are_read(tmp_path: Path) -> None:
    path = tmp_path / "few.onnx"
    onnx.save(model(5), path)
    check_expansion(model(19))
    with pytest.raises(ModelFileError):
        check_expansion(model(21))
    assert len(load_model(path).graph.nodes) == 32


def test_a_long_chain_of_calls_is_no_recursion_of_this_program() -> None:
    check_expansion(model(5000, calls=1))


def test_functions_that_call_themselves_are_left_to_the_checker(tmp_path: Path) -> None:
    endless = model(2)
    endless.functions[1].node[0].CopyFrom(helper.make_node("F0", ["a"], ["m1"], domain="own"))
    check_expansion(endless)
    path = tmp_path / "cycle.onnx"
    onnx.save(endless, path)
    with pytest.raises(ModelFileError, match="Cycle"):
        load_model(path)
