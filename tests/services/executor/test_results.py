from typing import Any

import ml_dtypes
import numpy as np
import pytest

from services.executor.results import (
    MSGPACK_OUTPUT_LIMIT_BYTES,
    encode_outcome,
    make_error_outcome,
    make_outcome,
    make_result,
)
from shared.messages.models import Manifest, ManifestBlock, OutputKind, TensorDescription
from shared.messages.requests import (
    JSON_CONTENT,
    MSGPACK_CONTENT,
    ErrorCause,
    FeatureMapHeader,
    Outcome,
    OutcomeStatus,
    StageTrace,
)
from shared.messages.streams import PlanStage


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "model": "0" * 64,
        "name": "m",
        "size_bytes": 1,
        "inputs": (TensorDescription(name="x", shape=(1,), dtype="float32"),),
        "outputs": (TensorDescription(name="y", shape=(1, 6), dtype="float32"),),
        "blocks": (ManifestBlock(name="prepare", output_bytes=1),),
        "output_kind": OutputKind.CLASSIFICATION,
    }
    return Manifest(**(fields | changes))


HEADER = FeatureMapHeader(
    transfer_id="t",
    sender="d",
    request_id="r",
    stream="s",
    model="0" * 64,
    epoch=3,
    attempt=2,
    stages=(PlanStage(start=0, stop=1, device="d"),),
    stage=0,
    tensors=(),
    source="d",
    accepted_at_s=1.0,
    accepted_s=1.0,
    dispatched_at_s=2.0,
    input_bytes=9,
)
TRACE = (StageTrace(device="d", start=0, stop=1, received_at_s=1.0),)
LOGITS = {"y": np.array([[0, 3, 1, 2, -1, 5]], np.float32)}


def test_the_best_five_with_their_labels() -> None:
    result = make_result(LOGITS, manifest(labels=("a", "b", "c", "d", "e")), JSON_CONTENT)
    assert [(score.index, score.label, score.score) for score in result.top] == [
        (5, "5", 5.0),
        (1, "b", 3.0),
        (3, "d", 2.0),
        (2, "c", 1.0),
        (0, "a", 0.0),
    ]
    assert result.outputs == ()


def test_logits_become_probabilities() -> None:
    result = make_result({"y": np.array([[1000.0, 1000.0]], np.float32)}, manifest(apply_softmax=True), JSON_CONTENT)
    assert [score.score for score in result.top] == pytest.approx([0.5, 0.5])


def test_scores_that_are_no_numbers_still_make_a_message() -> None:
    result = make_result({"y": np.array([[np.nan, np.inf, 1.0]], np.float32)}, manifest(), JSON_CONTENT)
    payload, _ = encode_outcome(make_outcome(HEADER, result, TRACE, 4.0), JSON_CONTENT)
    outcome = Outcome.decode(payload)
    assert [(score.index, score.score) for score in outcome.top] == [(2, 1.0)]
    assert outcome.error == "output 'y' has 1 NaN and 1 infinite values among 3"


def test_no_class_is_best_among_scores_that_are_no_numbers() -> None:
    scores = {"y": np.array([[np.nan, np.nan]], np.float32)}
    for softmax in (False, True):
        result = make_result(scores, manifest(apply_softmax=softmax), JSON_CONTENT)
        assert result.top == ()
        assert "2 NaN" in result.note


def test_classes_that_are_masked_out_have_probability_zero() -> None:
    scores = {"y": np.array([[-np.inf, 1.0]], np.float32)}
    result = make_result(scores, manifest(apply_softmax=True), JSON_CONTENT)
    assert [(score.index, score.score) for score in result.top] == [(1, 1.0), (0, 0.0)]


def test_output_tensors_that_are_not_finite_are_named() -> None:
    outputs: dict[str, np.ndarray] = {"y": np.array([np.inf, 0, -np.inf], np.float16), "z": np.zeros(3, np.int64)}
    result = make_result(outputs, manifest(output_kind=OutputKind.TENSOR, outputs=()), JSON_CONTENT)
    assert result.note == "output 'y' has 0 NaN and 2 infinite values among 3"
    assert len(result.outputs) == 2


def test_whole_outputs_when_asked_for() -> None:
    result = make_result(LOGITS, manifest(), MSGPACK_CONTENT)
    (tensor,) = result.outputs
    assert np.array_equal(np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape), LOGITS["y"])
    payload, content_type = encode_outcome(make_outcome(HEADER, result, TRACE, 4.0), MSGPACK_CONTENT)
    assert content_type == MSGPACK_CONTENT
    (sent,) = Outcome.decode(payload).outputs
    assert (sent.name, sent.dtype, sent.shape, sent.data) == ("y", "float32", tensor.shape, bytes(tensor.data))


def test_small_tensors_are_in_json_too_and_large_ones_are_not() -> None:
    plain = manifest(output_kind=OutputKind.TENSOR)
    small = make_result({"y": np.zeros(100, np.float32)}, plain, JSON_CONTENT)
    payload, content_type = encode_outcome(make_outcome(HEADER, small, TRACE, 4.0), JSON_CONTENT)
    assert content_type == JSON_CONTENT
    assert payload.startswith(b"{")
    assert Outcome.decode(payload).outputs[0].data == bytes(400)
    large = make_result({"y": np.zeros(100_000, np.float32)}, plain, JSON_CONTENT)
    assert large.outputs == ()
    assert "400000 bytes" in large.note
    assert "accept=" in large.note


def test_outputs_too_large_for_one_message_are_kept_beside_the_outcome() -> None:
    array = np.arange(4_000_000, dtype=">f4").reshape(2, -1)
    result = make_result({"y": array}, manifest(output_kind=OutputKind.TENSOR), MSGPACK_CONTENT)
    (output,) = result.outputs
    assert (output.shape, output.header.size_bytes) == ((2, 2_000_000), 16_000_000)
    assert bytes(output.data) == array.astype("<f4").tobytes()
    assert make_outcome(HEADER, result, TRACE, 4.0).outputs == ()


def test_what_no_transfer_can_carry_is_left_out_with_both_sizes() -> None:
    outputs = {"y": np.zeros(MSGPACK_OUTPUT_LIMIT_BYTES, np.uint8), "z": np.zeros(1, np.uint8)}
    result = make_result(outputs, manifest(output_kind=OutputKind.TENSOR, outputs=()), MSGPACK_CONTENT)
    assert result.outputs == ()
    assert result.note == "outputs of 267386881 bytes are left out (limit 267386880)"


def test_an_element_type_without_a_buffer_format_has_its_bytes() -> None:
    values = np.array([1.0, -2.0], dtype=ml_dtypes.bfloat16)
    (output,) = make_result({"y": values}, manifest(output_kind=OutputKind.TENSOR), MSGPACK_CONTENT).outputs
    assert (output.dtype, bytes(output.data)) == ("bfloat16", bytes.fromhex("803f00c0"))


def test_outputs_come_in_the_manifests_order_without_the_rest() -> None:
    specs = tuple(TensorDescription(name=name, shape=(1,), dtype="float32") for name in "ba")
    outputs = {name: np.zeros(1, np.float32) for name in "abz"}
    result = make_result(outputs, manifest(output_kind=OutputKind.TENSOR, outputs=specs), MSGPACK_CONTENT)
    assert [tensor.name for tensor in result.outputs] == ["b", "a"]


def test_an_outcome_tells_of_its_request() -> None:
    outcome = make_error_outcome(HEADER, ErrorCause.BAD_INPUT, "no image", TRACE, 4.0)
    assert (outcome.request_id, outcome.stream, outcome.epoch, outcome.attempt) == ("r", "s", 3, 2)
    assert (outcome.status, outcome.cause, outcome.error) == (OutcomeStatus.ERROR, ErrorCause.BAD_INPUT, "no image")
    assert (outcome.accepted_at_s, outcome.dispatched_at_s, outcome.completed_at_s) == (1.0, 2.0, 4.0)
    assert outcome.trace == TRACE
    assert outcome.input_bytes == 9
