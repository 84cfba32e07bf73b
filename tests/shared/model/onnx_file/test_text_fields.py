import numpy as np
import pytest

from shared.model.errors import ModelFileError
from shared.model.onnx_file import load_model
from tests.support.onnx_texts import onnx_bytes

MODEL = (
    "g (float[1,4] xxin) => (float[1,4] y) {mmid = MatMul(xxin, wwts) y = If(cond) <"
    "then_branch = tt () => (float[1,4] ooth) {ooth = Relu(mmid)}, "
    "else_branch = ee () => (float[1,4] ooel) {ooel = Tanh(mmid)}>}"
)


@pytest.fixture
def model() -> bytes:
    return onnx_bytes(MODEL, wwts=np.eye(4, dtype=np.float32), cond=np.array(True))


def test_a_model_whose_texts_are_utf_8_is_read(model: bytes) -> None:
    assert load_model(model).analysis.blocks


@pytest.mark.parametrize("name", [b"xxin", b"mmid", b"wwts", b"ooth", b"MatMul", b"else_branch"])
def test_bytes_that_are_no_text_are_refused_wherever_they_are(model: bytes, name: bytes) -> None:
    with pytest.raises(ModelFileError, match="is no text in UTF-8"):
        load_model(model.replace(name, b"\xff" * len(name)))
