import pytest

from shared.model.architectures import build
from shared.model.errors import ShapeError
from shared.model.graph import Node


def test_a_node_reads_what_is_there_and_what_its_subgraphs_capture() -> None:
    node = Node("n", "If", ("a", "", "b"), ("", "y"), captures=("c",))
    assert tuple(node.reads) == ("a", "b", "c")
    assert node.written == ("y",)


def test_a_node_without_a_name_is_called_by_its_operator_and_output() -> None:
    assert Node("", "Relu", ("x",), ("y",)).label == "Relu(y)"
    assert Node("act", "Relu", ("x",), ("y",)).label == "act"


def test_attributes_of_another_type_count_as_absent() -> None:
    node = Node("n", "Conv", ("x",), ("y",), {"group": "two", "pads": 3, "auto_pad": 1})
    assert node.integer("group", 1) == 1
    assert node.integers("pads", (0, 0)) == (0, 0)
    assert node.text("auto_pad", "NOTSET") == "NOTSET"


def test_an_unknown_tensor_is_named() -> None:
    with pytest.raises(ShapeError, match="'nowhere'"):
        build("tiny").tensor("nowhere")
