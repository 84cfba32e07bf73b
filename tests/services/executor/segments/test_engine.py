import numpy as np
import pytest

from services.executor.errors import CannotPrepare, ExecutionFailed
from services.executor.segments.engine import EngineSettings, load_session
from shared.messages.control import RejectionCause
from shared.model.architectures import build
from shared.model.onnx_file import to_bytes
from tests.support.endless_models import endless_loop, long_folding

TINY = to_bytes(build("tiny"))


def test_a_session_runs_by_names_and_ignores_what_it_does_not_read() -> None:
    session = load_session(TINY, EngineSettings())
    (name,) = session.inputs
    outputs = session.run({name: np.zeros((1, 3, 32, 32), np.float32), "else": np.zeros(3)})
    assert tuple(outputs) == session.outputs


def test_threads_do_not_change_the_numbers() -> None:
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    one, two = (load_session(TINY, EngineSettings(threads=threads)) for threads in (1, 2))
    first, second = (session.run({session.inputs[0]: image}) for session in (one, two))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_missing_and_unfit_inputs_are_the_executions_failure() -> None:
    session = load_session(TINY, EngineSettings())
    with pytest.raises(ExecutionFailed, match="did not arrive"):
        session.run({})
    with pytest.raises(ExecutionFailed):
        session.run({session.inputs[0]: np.zeros((1, 3, 5, 5), np.float64)})


def test_what_does_not_load_says_why() -> None:
    with pytest.raises(CannotPrepare) as invalid:
        load_session(b"no model", EngineSettings())
    assert invalid.value.cause is RejectionCause.MODEL_INVALID
    with pytest.raises(CannotPrepare, match="no provider NoneSuch") as missing:
        load_session(TINY, EngineSettings(provider="NoneSuch"))
    assert missing.value.cause is RejectionCause.ERROR


def test_a_run_without_end_is_stopped_and_the_session_serves_the_next() -> None:
    session = load_session(endless_loop(), EngineSettings(base_limit_s=0.2))
    for run in (session.run, session.run_apart):
        with pytest.raises(ExecutionFailed, match=r"a run did not end within 0\.2 s, in node 'forever' \(Loop\)"):
            run({"x": np.zeros((1, 4), np.float32)})


def test_loading_for_too_long_is_the_models_fault() -> None:
    with pytest.raises(CannotPrepare, match="the creation of its session was stopped") as stopped:
        load_session(long_folding(), EngineSettings(base_limit_s=0.2))
    assert stopped.value.cause is RejectionCause.MODEL_INVALID


def test_operations_explain_a_longer_run() -> None:
    session = load_session(endless_loop(), EngineSettings(base_limit_s=0.2), flops=2e8)
    with pytest.raises(ExecutionFailed, match=r"within 0\.4 s"):
        session.run({"x": np.zeros((1, 4), np.float32)})
