"""A request's way: the feature-map header, the trace, the outcome, and the collector's confirmation."""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import REQUEST_ID_PATTERN, Message, ModelId, Name, Part, RequestId
from shared.messages.streams import PlanStage

REQUEST_ID_PROPERTY = "request_id"
"""MQTT 5 user property of a request; without it the correlation data, else an id made by the source."""

JSON_CONTENT = "application/json"
MSGPACK_CONTENT = "application/msgpack"
ACCEPT_PROPERTY = "accept"
"""MQTT 5 user property of a request: the content type wanted for its result (JSON unless asked)."""

_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)
_LONGEST_SPELLED_BYTES = 64


def given_request_id(user: Mapping[str, str], correlation_data: bytes | None) -> str | None:
    """Return the id that an application gave its request; none if it gave none, and the source makes one.

    It is the user property; else the correlation data, as text if it may be an id, else in hexadecimal (of long data:
    its SHA-256).

    Args:
        user: the user properties of the message.
        correlation_data: of the message.
    """
    given = user.get(REQUEST_ID_PROPERTY, "")
    if _REQUEST_ID.fullmatch(given):
        return given
    if not correlation_data:
        return None
    text = correlation_data.decode("ascii", errors="replace")
    if _REQUEST_ID.fullmatch(text):
        return text
    spelled = len(correlation_data) <= _LONGEST_SPELLED_BYTES
    return correlation_data.hex() if spelled else hashlib.sha256(correlation_data).hexdigest()


class StageTrace(Part):
    """Where a request's time went on one stage. Wall clocks are the device's own."""

    device: Name
    start: int
    stop: int
    received_at_s: float
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    sent_at_s: float | None = None
    """When the output's transfer to the next device began; none on the last stage or on the same device."""
    output_bytes: int = 0
    codec: str = "raw"


class TensorHeader(Part):
    """One tensor behind a header."""

    name: str
    dtype: str
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    codec: str = "raw"
    size_bytes: Annotated[int, Field(ge=0)]
    """Bytes on the wire."""


class FeatureMapHeader(Message):
    """What travels before the tensors (`devices/{device}/inbox`). It carries its route, so a device needs no plan."""

    TOPIC: ClassVar = topics.inbox

    transfer_id: str
    sender: Name
    request_id: RequestId
    stream: Name
    model: ModelId
    epoch: int
    attempt: Annotated[int, Field(ge=1)]
    stages: tuple[PlanStage, ...]
    stage: Annotated[int, Field(ge=0)]
    """Index in `stages` of the stage to compute next. Before block 0 the tensor is the request's own bytes."""
    tensors: tuple[TensorHeader, ...]
    source: Name
    accepted_at_s: float
    dispatched_at_s: float
    deadline_at_s: float | None = None
    queue: str = "fifo"
    accept: str = JSON_CONTENT
    response_topic: str | None = None
    correlation_data: bytes | None = None
    traceparent: str | None = None
    input_bytes: int = 0
    trace: tuple[StageTrace, ...] = ()


class OutcomeStatus(StrEnum):
    """How a request ended."""

    OK = "ok"
    ERROR = "error"


class ErrorCause(StrEnum):
    """Why a request failed."""

    BAD_INPUT = "bad_input"
    DEADLINE = "deadline"
    RETRIES_EXHAUSTED = "retries_exhausted"
    SUPERSEDED = "superseded"
    """A live source took a newer frame instead."""
    EXECUTION = "execution"


class ClassScore(Part):
    """One class and its score."""

    index: int
    label: str
    score: float


class OutputTensor(Part):
    """An output of the model, its values little-endian."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Outcome(Message):
    """The one result or the one error of a request (`streams/{stream}/results`)."""

    TOPIC: ClassVar = topics.results

    request_id: RequestId
    stream: Name
    status: OutcomeStatus
    model: str = ""
    epoch: int = 0
    attempt: int = 0
    top: tuple[ClassScore, ...] = ()
    """The best five classes of a classifier."""
    outputs: tuple[OutputTensor, ...] = ()
    """Whole tensors, in msgpack results only."""
    cause: ErrorCause | None = None
    error: str = ""
    accepted_at_s: float = 0.0
    dispatched_at_s: float = 0.0
    completed_at_s: float = 0.0
    input_bytes: int = 0
    trace: tuple[StageTrace, ...] = ()


class Confirmation(Message):
    """The collector has stored these outcomes; their sources may forget them (`collector/confirmations`)."""

    TOPIC: ClassVar = topics.confirmations

    collector: Name
    request_ids: tuple[RequestId, ...]
