import numpy as np
import pytest

from shared.model.errors import RuntimeFailureError
from shared.model.onnx_file.runtime import ModelSession, Optimisation
from tests.support.onnx_texts import onnx_bytes

DATA = onnx_bytes("g (float[2] x) => (float[2] y, float[2] z) {y = Relu(x) z = Neg(x)}")


@pytest.mark.parametrize("optimisation", Optimisation)
def test_a_session_takes_what_it_needs_and_names_what_it_gives(optimisation: Optimisation) -> None:
    session = ModelSession(DATA, optimisation)
    assert (session.inputs, session.outputs) == (("x",), ("y", "z"))
    result = session.run({"x": np.array([-1, 1], np.float32), "other": np.zeros(1)})
    assert {name: values.tolist() for name, values in result.items()} == {"y": [0, 1], "z": [1, -1]}


def test_a_session_can_give_some_of_its_outputs() -> None:
    assert list(ModelSession(DATA).run({"x": np.zeros(2, np.float32)}, ["z"])) == ["z"]


def test_a_model_that_the_runtime_refuses() -> None:
    with pytest.raises(RuntimeFailureError, match="cannot load"):
        ModelSession(b"no model")


def test_inputs_that_the_runtime_refuses() -> None:
    with pytest.raises(RuntimeFailureError, match="cannot run"):
        ModelSession(DATA).run({"x": np.zeros(3, np.float32)})
