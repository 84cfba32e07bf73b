import numpy as np
import pytest

from shared.model.errors import RuntimeFailureError, TimeLimitError
from shared.model.onnx_file.runtime import ModelSession, Optimisation
from tests.support.endless_models import endless_loop, long_folding
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


def test_a_run_without_end_is_stopped_and_names_its_node() -> None:
    session = ModelSession(endless_loop(), limit_s=0.2)
    with pytest.raises(TimeLimitError, match=r"a run did not end within 0\.2 s, in node 'forever' \(Loop\)$"):
        session.run({"x": np.zeros((1, 4), np.float32)})


def test_loading_for_too_long_is_stopped() -> None:
    with pytest.raises(TimeLimitError, match=r"the creation of its session was stopped: .* within 0\.2 s$"):
        ModelSession(long_folding(), limit_s=0.2)
