"""Blocks of a model are compared with its file before it enters the fleet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.cli.support.block_check import check_blocks
from shared.exit_status import InputError
from shared.model.architectures import build
from shared.model.errors import TimeLimitError
from shared.model.onnx_file import load_model, to_bytes, write_onnx
from tests.support.endless_models import endless_loop
from tests.support.onnx_texts import onnx_bytes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_onnx(build("tiny"), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def test_blocks_that_compute_what_the_file_computes(file: Path) -> None:
    check = check_blocks(load_model(file), file)
    assert not check.is_warning
    assert check.text.startswith("the 7 blocks compute what the file computes, ")
    assert check.errors["unoptimised_rel_error"] == 0
    assert check.errors["tolerance"] == 1e-5


def test_blocks_of_another_graph_are_refused(file: Path) -> None:
    other = load_model(to_bytes(build("tiny", 1)))
    with pytest.raises(InputError, match="compute something else than the file: without optimisation they are off by"):
        check_blocks(other, file)


def test_a_small_change_of_one_weight_is_another_graph(file: Path) -> None:
    model = load_model(file)
    name, weight = next((n, w) for n, w in model.graph.weights.items() if n.startswith("fc"))
    changed = replace(weight, source=weight.values() * np.float32(1.001))
    graph = replace(model.graph, weights={**model.graph.weights, name: changed})
    with pytest.raises(InputError, match="compute something else"):
        check_blocks(replace(model, graph=graph), file)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("s = Softmax(x) n = RandomNormal <shape = [1,4]> () a = Add(s, n) y = Softmax(a)", "draws random numbers"),
        ("z = Sub(x, x) y = Div(z, z)", "hold NaN or infinities"),
    ],
)
def test_what_cannot_be_compared_is_a_warning(tmp_path: Path, body: str, text: str) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(onnx_bytes(f"g (float[1,4] x) => (float[1,4] y) {{{body}}}"))
    check = check_blocks(load_model(file), file)
    assert check.is_warning
    assert text in check.text


def test_a_file_that_the_runtime_refuses_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    text = "g (float[1,4] x) => (float[1,2] y) <float[1,3] a> {a = com.example.Mystery(x) y = MatMul(a, w)}"
    file.write_bytes(onnx_bytes(text, w=np.ones((3, 2), np.float32)))
    check = check_blocks(load_model(file), file)
    assert check.is_warning
    assert check.text.startswith("the blocks are not compared with the file: ONNX Runtime cannot load the model")


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(endless_loop())
    with pytest.raises(TimeLimitError, match=r"a run did not end within 0\.2 s, in node 'forever' \(Loop\)"):
        check_blocks(load_model(file), file, base_limit_s=0.2)
