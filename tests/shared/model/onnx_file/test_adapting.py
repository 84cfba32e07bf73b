"""Symbolic dimensions, fixed inputs and kept outputs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike

from shared.model.adaptation import Adaptation
from shared.model.errors import ShapeError, UnsupportedModelError
from shared.model.onnx_file import load_model, split
from shared.model.onnx_file.external_data import pack
from tests.support.onnx_texts import onnx_bytes

SQUARE = np.eye(4, dtype=np.float32)
# A sequence of vectors with a mask, and a rate that no request has.
TEXT = """g (float[batch,steps,4] x, float[batch,steps,1] mask, int64 rate) => (float[b,s,4] y, float[b,s,4] side) {
    a = MatMul(x, w) m = Mul(a, mask) r = Cast <to = 1> (rate) h = Div(m, r) y = MatMul(h, w) side = MatMul(a, v)
    }"""
DATA = onnx_bytes(TEXT, w=SQUARE, v=2 * SQUARE)
SIZES = {"batch": 1, "steps": 3}


def test_a_dimension_is_named_once() -> None:
    model = load_model(DATA, adaptation=Adaptation(dimensions=SIZES))
    assert [spec.shape for spec in model.analysis.input] == [(1, 3, 4), (1, 3, 1), ()]
    assert model.sha256 == load_model(DATA, adaptation=Adaptation(dimensions={"batch": 2, "steps": 3})).sha256


def test_the_batch_is_one_when_the_others_are_named() -> None:
    model = load_model(DATA, adaptation=Adaptation(dimensions={"steps": 5}))
    assert model.analysis.input[0].shape == (1, 5, 4)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [({"time": 3}, "no dimension 'time': its inputs have 'batch', 'steps'"), ({"steps": 0}, "cannot be 0")],
)
def test_dimensions_that_do_not_exist(sizes: dict[str, int], reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        load_model(DATA, adaptation=Adaptation(dimensions=sizes))


def test_missing_dimensions_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(batch, steps\).*--dim batch=\? --dim steps=\?"):
        load_model(DATA)


@pytest.mark.parametrize("value", [16000, [16000], np.int32(16000), np.array(16000)])
def test_a_fixed_input_is_no_input(tmp_path: Path, value: ArrayLike) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(DATA)
    fixed = Adaptation(dimensions=SIZES, input_values={"rate": value})
    parts = split(path, [1], adaptation=fixed)
    assert [spec.name for spec in parts.model.analysis.input] == ["x", "mask"]
    # The runtime folds the constant, and divides by a reciprocal.
    assert parts.report.max_rel_error < 1e-6
    assert parts.report.unoptimised_rel_error == 0
    assert parts.model.fixed_inputs["rate"] == np.array(16000)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sr": 1}, "no input 'sr': its inputs are 'x', 'mask', 'rate'"),
        ({"rate": 1.5}, "float64, not int64"),
        ({"rate": "fast"}, "not int64"),
        ({"rate": [1, 2]}, r"has shape \[2\]"),
        ({"mask": [1, 2]}, r"has shape \[2\], the input 1,3,1"),
    ],
)
def test_values_that_do_not_fit(values: dict[str, ArrayLike], reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        load_model(DATA, adaptation=Adaptation(dimensions=SIZES, input_values=values))


def test_one_number_serves_for_all_elements() -> None:
    model = load_model(DATA, adaptation=Adaptation(dimensions=SIZES, input_values={"mask": 1, "rate": 2}))
    assert np.array_equal(model.fixed_inputs["mask"], np.ones((1, 3, 1), np.float32))


def test_kept_outputs_leave_out_what_only_others_need(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(DATA)
    kept = Adaptation(dimensions=SIZES, outputs=("side",))
    parts = split(path, [], adaptation=kept)
    assert [spec.name for spec in parts.model.analysis.input] == ["x"]
    assert parts.model.graph.outputs == ("side",)
    assert parts.report.bit_exact
    both = load_model(DATA, adaptation=Adaptation(dimensions=SIZES, outputs=("side", "y")))
    assert both.graph.outputs == ("side", "y")


def test_an_output_that_does_not_exist_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="no output 'z': its outputs are 'y', 'side'"):
        load_model(DATA, adaptation=Adaptation(dimensions=SIZES, outputs=("z",)))


def test_the_packed_file_is_complete(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.onnx", tmp_path / "packed"
    path.write_bytes(DATA)
    folder.mkdir()
    chosen = Adaptation(dimensions=SIZES, input_values={"rate": 2}, outputs=("y",))
    packed, fixed = pack(path, folder, chosen)
    onnx.checker.check_model(packed, full_check=True)
    whole = load_model(packed.read_bytes())
    assert whole.analysis == load_model(path, adaptation=chosen).analysis
    assert fixed.keys() == {"rate"}
    assert path.read_bytes() == DATA


def test_weights_that_are_inputs_too_are_no_inputs() -> None:
    model = onnx.load_model_from_string(DATA)
    model.ir_version = 3
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 4]))
    chosen = Adaptation(dimensions=SIZES, input_values={"rate": 2})
    adapted = load_model(model.SerializeToString(), adaptation=chosen)
    assert [spec.name for spec in adapted.analysis.input] == ["x", "mask"]
    with pytest.raises(ShapeError, match="no input 'w'"):
        load_model(model.SerializeToString(), adaptation=Adaptation(input_values={"w": 1}))
