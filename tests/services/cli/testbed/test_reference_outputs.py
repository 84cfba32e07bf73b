"""Results of encoded feature maps are held against the whole model by their best class; others by every number."""

from pathlib import Path

import numpy as np
import pytest

from services.cli.support.manifest import Preset, build_manifest
from services.cli.testbed.reference_outputs import ReferenceOutputs
from shared.messages.requests import Outcome, OutcomeStatus, OutputTensor, StageTrace
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ReferenceOutputs:
    file: Path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_onnx(build("tiny"), file)
    return ReferenceOutputs(build_manifest(file, preprocessing=Preset.TENSOR), file, 1e-5)


@pytest.fixture
def payload(reference: ReferenceOutputs) -> bytes:
    shape = reference._manifest.inputs[0].shape
    return np.random.default_rng(3).normal(size=shape).astype(np.float32).tobytes()


def answer(output: np.ndarray, name: str, codec: str, **changes: object) -> Outcome:
    fields: dict[str, object] = {
        "request_id": "r",
        "stream": "s",
        "status": OutcomeStatus.OK,
        "outputs": (OutputTensor(name=name, dtype="float32", shape=output.shape, data=output.tobytes()),),
        "trace": (StageTrace(device="pi", start=0, stop=2, received_at_s=0.0, codec=codec),),
    }
    return Outcome(**(fields | changes))


def test_lossless_results_are_compared_number_by_number(reference: ReferenceOutputs, payload: bytes) -> None:
    ((name, output),) = reference.outputs(payload).items()
    slightly = (output * 1.001 + 0.001).astype(np.float32)
    for codec in ("raw", "raw+zstd"):
        assert not reference.differs(payload, answer(output, name, codec))
        assert reference.differs(payload, answer(slightly, name, codec))


def test_numbers_near_zero_are_compared_with_the_largest_of_their_output(
    reference: ReferenceOutputs, payload: bytes
) -> None:
    ((name, output),) = reference.outputs(payload).items()
    largest = float(np.abs(output).max())
    rounded, wrong = output.copy(), output.copy()
    rounded.reshape(-1)[0] += 2e-6 * largest
    wrong.reshape(-1)[0] += 2e-5 * largest
    assert not reference.differs(payload, answer(rounded, name, "raw"))
    assert reference.differs(payload, answer(wrong, name, "raw"))


def test_encoded_results_differ_when_their_best_class_does(reference: ReferenceOutputs, payload: bytes) -> None:
    ((name, output),) = reference.outputs(payload).items()
    slightly = (output * 1.001 + 0.001).astype(np.float32)
    other = np.roll(output, 1, axis=-1)
    for codec in ("uint8+zstd", "raw+uint8"):
        assert not reference.differs(payload, answer(slightly, name, codec))
        assert reference.differs(payload, answer(other, name, codec))


def test_a_missing_output_differs_and_an_error_does_not(reference: ReferenceOutputs, payload: bytes) -> None:
    ((name, output),) = reference.outputs(payload).items()
    assert reference.differs(payload, answer(output, "other", "uint8"))
    assert reference.differs(payload, answer(output.reshape(-1), name, "uint8"))
    assert not reference.differs(payload, answer(output, name, "raw", status=OutcomeStatus.ERROR, outputs=()))
