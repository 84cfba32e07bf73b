import numpy as np
import pytest

from shared.model.errors import TimeLimitError
from shared.model.liveness import activate
from shared.model.onnx_file import folding, load_model
from shared.model.onnx_file.folding import evaluate_constants
from tests.support.endless_models import endless_loop
from tests.support.onnx_texts import onnx_bytes


def test_constant_subgraphs_are_computed() -> None:
    text = """g (float[1,4] x) => (float[1,4] y) {
        w = ConstantOfShape <value = float[1] {0.5}> (s) v = Add(w, b) y = MatMul(x, v)
        }"""
    model = load_model(onnx_bytes(text, s=np.array([4, 4]), b=np.arange(4, dtype=np.float32)))
    values = evaluate_constants(activate(model.graph), ("v",))
    assert np.array_equal(values["v"], np.tile(np.arange(4) + 0.5, (4, 1)))


def test_what_the_runtime_does_not_know_stays() -> None:
    text = "g (float[1,4] x) => (float[1,4] y) <float[4] v> {v = com.example.Mystery(w) y = Add(x, v)}"
    model = load_model(onnx_bytes(text, w=np.ones(4, np.float32)))
    assert evaluate_constants(activate(model.graph), ("v",)) == {}


def test_constants_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "BASE_LIMIT_S", 0.2)
    text = (
        r"constants that shapes may depend on, such as '.*a run did not end within 0\.2 s, in node 'forever' \(Loop\)"
    )
    with pytest.raises(TimeLimitError, match=text):
        load_model(endless_loop(constant=True))
