"""Outcomes of requests, from a model's outputs or from an error, and their encoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.executor.peer_clocks import source_time_s
from shared.bus import topics
from shared.large_outcomes import MAX_LARGE_OUTCOME_BYTES
from shared.messages.bounds import clean_text
from shared.messages.models import Manifest, OutputKind
from shared.messages.requests import (
    JSON_CONTENT,
    MSGPACK_CONTENT,
    ClassScore,
    ErrorCause,
    FeatureMapHeader,
    Outcome,
    OutcomeStatus,
    OutputTensor,
    OutputTransfer,
    StageTrace,
    TensorHeader,
)

# Number of classes in the outcome of a classifier.
TOP = 5
# Largest total size of the outputs in a JSON outcome (as base64), for models other than classifiers.
JSON_OUTPUT_LIMIT_BYTES = 64 * 1024
# Largest total size of the outputs in one msgpack message, which has to stay below `MAX_MESSAGE_BYTES`. Larger ones are
# sent apart from their outcome.
MSGPACK_MESSAGE_OUTPUT_BYTES = 7 * 1024 * 1024
_ADVICE = f"; ask for them with the user property accept={MSGPACK_CONTENT}"
# Room for the header of a large outcome.
_HEADER_BYTES = 1024 * 1024
MSGPACK_OUTPUT_LIMIT_BYTES = MAX_LARGE_OUTCOME_BYTES - _HEADER_BYTES


@dataclass(frozen=True, slots=True)
class OutputData:
    """An output of the model, its bytes not copied.

    Attributes:
        name: of the output.
        dtype: element type, as numpy calls it.
        shape: its dimensions.
        data: the elements, little-endian and in row-major order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    @property
    def header(self) -> TensorHeader:
        """What describes it in a frame."""
        return TensorHeader(name=self.name, dtype=self.dtype, shape=self.shape, size_bytes=self.data.nbytes)


@dataclass(frozen=True, slots=True)
class ModelResult:
    """Result of a model for one request.

    Attributes:
        top: best classes of a classifier.
        outputs: output tensors.
        note: which outputs were left out, and why; which outputs hold NaN or infinities.
    """

    top: tuple[ClassScore, ...] = ()
    outputs: tuple[OutputData, ...] = ()
    note: str = ""


def make_result(outputs: Mapping[str, np.ndarray], manifest: Manifest, accept: str) -> ModelResult:
    """Read a model's outputs.

    A classifier gives its best classes, and its outputs only in msgpack. Other models give their outputs. Outputs
    beyond the limit of the content type are left out, and `ModelResult.note` says so.

    Args:
        outputs: the model's outputs by name.
        manifest: kind and labels of the first output.
        accept: content type of the result, `JSON_CONTENT` or `MSGPACK_CONTENT`.
    """
    ordered = _ordered(outputs, manifest)
    faults = [fault for name, array in ordered.items() if (fault := _non_finite(name, array))]
    classifier = manifest.output_kind is OutputKind.CLASSIFICATION and bool(ordered)
    top = _top(next(iter(ordered.values())), manifest) if classifier else ()
    wants_all = accept == MSGPACK_CONTENT
    if classifier and not wants_all:
        return ModelResult(top, note="; ".join(faults))
    size_bytes = sum(array.nbytes for array in ordered.values())
    limit_bytes = MSGPACK_OUTPUT_LIMIT_BYTES if wants_all else JSON_OUTPUT_LIMIT_BYTES
    if size_bytes > limit_bytes:
        advice = "" if wants_all else _ADVICE
        left_out = f"outputs of {size_bytes} bytes are left out (limit {limit_bytes}){advice}"
        return ModelResult(top, note="; ".join((left_out, *faults)))
    tensors = tuple(_tensor(name, array) for name, array in ordered.items())
    return ModelResult(top, tensors, note="; ".join(faults))


def make_outcome(header: FeatureMapHeader, result: ModelResult, trace: Sequence[StageTrace], now_s: float) -> Outcome:
    """Return the outcome of a request that was computed at `now_s` (monotonic seconds).

    It has the outputs that fit into one message. `Outcome.error` holds the note when outputs were left out.
    """
    fits = sum(output.data.nbytes for output in result.outputs) <= MSGPACK_MESSAGE_OUTPUT_BYTES
    outputs = tuple(
        OutputTensor(name=output.name, dtype=output.dtype, shape=output.shape, data=bytes(output.data))
        for output in (result.outputs if fits else ())
    )
    return _outcome(header, trace, now_s).model_copy(
        update={"top": result.top, "outputs": outputs, "error": result.note}
    )


def make_error_outcome(
    header: FeatureMapHeader, cause: ErrorCause, text: str, trace: Sequence[StageTrace], now_s: float
) -> Outcome:
    """Return the outcome of a request that was found at `now_s` (monotonic seconds) not to be computable."""
    return _outcome(header, trace, now_s).model_copy(
        update={"status": OutcomeStatus.ERROR, "cause": cause, "error": clean_text(text)}
    )


def without_outputs(outcome: Outcome, reason: str) -> Outcome:
    """Return an outcome without its outputs, and with the reason."""
    note = f"outputs are left out: {reason}"
    fields = {"outputs": (), "transfer": None, "error": clean_text("; ".join(filter(None, (note, outcome.error))))}
    return outcome.model_copy(update=fields)


def too_large(outcome: Outcome, size_bytes: int, limit_bytes: int) -> Outcome:
    """Return an outcome of `size_bytes` without its outputs, for a broker that accepts messages of `limit_bytes`."""
    advice = "" if not outcome.outputs else _ADVICE
    return without_outputs(
        outcome, f"the result has {size_bytes} bytes, the broker accepts at most {limit_bytes}{advice}"
    )


def with_transfer(outcome: Outcome, transfer_id: bytes, size_bytes: int) -> Outcome:
    """Return an outcome whose outputs were sent apart from it, in a frame of `size_bytes`."""
    transfer = OutputTransfer(transfer_id=transfer_id.hex(), size_bytes=size_bytes)
    return outcome.model_copy(update={"outputs": (), "transfer": transfer})


def announced(outcome: Outcome) -> Outcome:
    """Return an outcome for the results topic: it says where its outputs are if they were sent apart from it."""
    if outcome.transfer is None:
        return outcome
    note = f"outputs of {outcome.transfer.size_bytes} bytes are on {topics.outputs(outcome.stream)}, in chunks"
    return outcome.model_copy(update={"error": "; ".join(filter(None, (note, outcome.error)))})


def of_message(outcome: Outcome) -> list[OutputData]:
    """Return the outputs that an outcome has."""
    return [OutputData(each.name, each.dtype, each.shape, memoryview(each.data)) for each in outcome.outputs]


def encode_outcome(outcome: Outcome, accept: str) -> tuple[bytes, str]:
    """Return the bytes of an outcome and their content type: msgpack if `accept` is, else JSON."""
    if accept == MSGPACK_CONTENT:
        return outcome.encode(), MSGPACK_CONTENT
    return outcome.encode_json(), JSON_CONTENT


def _outcome(header: FeatureMapHeader, trace: Sequence[StageTrace], now_s: float) -> Outcome:
    return Outcome(
        request_id=header.request_id,
        stream=header.stream,
        status=OutcomeStatus.OK,
        model=header.model,
        epoch=header.epoch,
        attempt=header.attempt,
        accepted_at_s=header.accepted_at_s,
        dispatched_at_s=header.dispatched_at_s,
        completed_at_s=source_time_s(header, now_s),
        input_bytes=header.input_bytes,
        trace=tuple(trace),
    )


def _ordered(outputs: Mapping[str, np.ndarray], manifest: Manifest) -> dict[str, np.ndarray]:
    named = {spec.name: outputs[spec.name] for spec in manifest.outputs if spec.name in outputs}
    return named or dict(outputs)


def _top(scores: np.ndarray, manifest: Manifest) -> tuple[ClassScore, ...]:
    flat = np.asarray(scores, dtype=np.float64).reshape(-1)
    if manifest.apply_softmax:
        # Shifted by the maximum, so that exp never overflows; softmax does not change.
        with np.errstate(invalid="ignore"):
            shifted = np.exp(flat - np.max(flat))
            flat = shifted / np.sum(shifted)
    best = np.argsort(-flat, kind="stable")
    # JSON has no NaN or infinity.
    finite = best[np.isfinite(flat[best])][:TOP]
    return tuple(
        ClassScore(index=int(index), label=_label(int(index), manifest.labels), score=float(flat[index]))
        for index in finite
    )


def _non_finite(name: str, array: np.ndarray) -> str:
    """Return how many values of an output are not finite; empty if none."""
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return ""
    nans, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    return f"output {name!r} has {nans} NaN and {infinite} infinite values among {array.size}"


def _label(index: int, labels: Sequence[str]) -> str:
    return (labels[index] if index < len(labels) else "") or str(index)


def _tensor(name: str, array: np.ndarray) -> OutputData:
    little_endian = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    # As bytes first: some element types, such as bfloat16, have no buffer format.
    return OutputData(name, array.dtype.name, array.shape, little_endian.reshape(-1).view(np.uint8).data)
