"""Messages about a request: the header of its feature maps, its trace, outcome and confirmation."""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field, StringConstraints

from shared.bus import topics
from shared.bus.topic import Topic
from shared.messages.base import MAX_MESSAGE_BYTES, Message, Part
from shared.messages.bounds import (
    MAX_STAGES,
    MAX_TILES,
    REQUEST_ID_PATTERN,
    BlockIndex,
    BlockStop,
    Cardinal,
    ClockReading,
    CodecName,
    EpochNumber,
    Instant,
    Line,
    Milliseconds,
    ModelId,
    Name,
    PositiveCardinal,
    Prose,
    Quantity,
    RequestId,
    Rows,
    Word,
    at_most,
)
from shared.messages.streams import Stages, comes_in_parts
from shared.transport_mode import Carrier, TransportMode

# MQTT 5 user property with the id of a request (`given_request_id`).
REQUEST_ID_PROPERTY: Final = "request_id"
# MQTT 5 user property with the stream of a request, where the topic does not name it.
STREAM_PROPERTY: Final = "stream"

# Suffixes of files that are pictures, and of those that are tensors, as the payload of a request.
PICTURE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
TENSOR_SUFFIXES: Final = (".npy", ".msgpack", ".bin")

JSON_CONTENT: Final = "application/json"
MSGPACK_CONTENT: Final = "application/msgpack"
# MQTT 5 user property of a request: the content type of its result, JSON if it is absent.
ACCEPT_PROPERTY: Final = "accept"

_REQUEST_ID: Final = re.compile(REQUEST_ID_PATTERN)
# An id has at most 128 characters, which hold this number of bytes in hexadecimal.
_LONGEST_HEX_BYTES: Final = 64


def given_request_id(user: Mapping[str, str], correlation_data: bytes | None) -> str | None:
    """Return the id that an application gave its request; None if the source has to make one.

    The id is the user property `request_id`. Without this property, the id is the correlation data as text if that is a
    valid id. Otherwise it is the data in hexadecimal, or the SHA-256 of more than 64 bytes.

    Args:
        user: the user properties of the message.
        correlation_data: the correlation data of the message.
    """
    given = user.get(REQUEST_ID_PROPERTY, "")
    if _REQUEST_ID.fullmatch(given):
        return given
    if not correlation_data:
        return None
    text = correlation_data.decode("ascii", errors="replace")
    if _REQUEST_ID.fullmatch(text):
        return text
    fits = len(correlation_data) <= _LONGEST_HEX_BYTES
    return correlation_data.hex() if fits else hashlib.sha256(correlation_data).hexdigest()


_Shape = Annotated[tuple[Quantity, ...], at_most(64)]
_LARGEST_SCORE: Final = 1.7976931348623157e308


class StageTrace(Part):
    """Time of a request on one stage.

    `received_at_s` and `sent_at_s` are on the source's clock: the acceptance of the request plus the time that has
    passed since, across all devices.
    """

    device: Name
    start: BlockIndex
    stop: BlockStop
    rows: Rows | None = None
    """Rows of the stage's output that this device makes; None for a stage in one piece."""
    received_at_s: Instant
    """Arrival of the input; of an input in parts, of its first rows."""
    wait_ms: Milliseconds = 0.0
    """From the first rows of the input to the last ones."""
    queue_ms: Milliseconds = 0.0
    compute_ms: Milliseconds = 0.0
    sent_at_s: Instant | None = None
    """Start of the output's transfer to the next device; None on the last stage, or if the device is the same."""
    output_bytes: Quantity = 0
    codec: Word = "raw"
    transport: Carrier | None = None
    """What carried the output to the next device; None as for `sent_at_s`, and from older devices."""


MAX_TRACE: Final = 2 * MAX_STAGES
_Trace = Annotated[tuple[StageTrace, ...], at_most(MAX_TRACE)]


class TensorHeader(Part):
    """One tensor after a header."""

    name: Word
    dtype: Word
    shape: _Shape
    codec: CodecName = "raw"
    size_bytes: Quantity
    """Bytes on the wire."""
    top: Cardinal = 0
    """First of these rows in the receiver's tensor."""
    of_rows: Cardinal = 0
    """Rows of the receiver's tensor, of which these are some; 0 for a tensor that comes as a whole."""


class FeatureMapHeader(Message):
    """The header of a feature map (`devices/{device}/inbox`). It states the route, so that a device needs no plan."""

    TOPIC: ClassVar = topics.inbox

    transfer_id: Word
    sender: Name
    request_id: RequestId
    stream: Name
    model: ModelId
    epoch: EpochNumber
    attempt: PositiveCardinal
    stages: Stages
    stage: Annotated[int, Field(ge=0, lt=MAX_STAGES)]
    """Index in `stages` of the stage to compute next. Before block 0 the tensor holds the bytes of the request."""
    tile: Annotated[int, Field(ge=0, lt=MAX_TILES)] = 0
    """Index of the tile among those of the stage, whose device receives the feature map."""
    tensors: Annotated[tuple[TensorHeader, ...], at_most(1024)]
    source: Name
    accepted_at_s: Instant
    """Wall clock of the source. Later times of the request are this one plus the time that has passed since."""
    dispatched_at_s: Instant
    deadline_at_s: Annotated[float, Field(ge=0, le=1e16)] | None = None
    """Far in the future for a policy with an endless deadline."""
    accepted_s: ClockReading | None = None
    """When the request was accepted, on the monotonic clock of `sender`; None from an older sender."""
    sent_s: ClockReading | None = None
    """Start of the transfer, on the same clock."""
    queue: Word = "fifo"
    transport: TransportMode | None = None
    """Transports that the stream allows; None for each device's own setting."""
    accept: Word = JSON_CONTENT
    response_topic: Word | None = None
    correlation_data: Annotated[bytes, Field(max_length=65_535)] | None = None
    traceparent: Word | None = None
    input_bytes: Quantity = 0
    outcome_to_source: bool = False
    """Whether the source takes the outcome and publishes it; False from a source of an earlier release."""
    trace: _Trace = ()

    @property
    def target(self) -> str:
        """The device that computes the stage, or this tile of it.

        Raises:
            IndexError: the route has no such stage or tile.
        """
        return self.stages[self.stage].devices[self.tile]

    @property
    def comes_in_parts(self) -> bool:
        """Whether the tensors are rows of the stage's input, beside which others may be sent."""
        return comes_in_parts(self.stages, self.stage)


class OutcomeStatus(StrEnum):
    """Result or error."""

    OK = "ok"
    ERROR = "error"


class ErrorCause(StrEnum):
    """Cause of a request's failure."""

    BAD_INPUT = "bad_input"
    DEADLINE = "deadline"
    RETRIES_EXHAUSTED = "retries_exhausted"
    SUPERSEDED = "superseded"
    """The stream is live, and its source took a newer frame."""
    EXECUTION = "execution"


class ClassScore(Part):
    """One class and its score."""

    index: Quantity
    label: Line
    score: Annotated[float, Field(ge=-_LARGEST_SCORE, le=_LARGEST_SCORE)]


class OutputTensor(Part):
    """An output of the model, in little-endian byte order."""

    name: Word
    dtype: Word
    shape: _Shape
    data: Annotated[bytes, Field(max_length=MAX_MESSAGE_BYTES)]


class OutputTransfer(Part):
    """Outputs of an outcome that are sent apart from it, in chunks."""

    transfer_id: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){1,64}$")]
    """The id in the chunks, in hexadecimal."""
    size_bytes: Quantity
    """Size of the whole frame: header and tensors."""


class Outcome(Message):
    """The one result or the one error of a request (`streams/{stream}/results`)."""

    TOPIC: ClassVar[Topic[...]] = topics.results

    request_id: RequestId
    stream: Name
    status: OutcomeStatus
    model: Word = ""
    epoch: EpochNumber = 0
    attempt: Cardinal = 0
    top: Annotated[tuple[ClassScore, ...], at_most(1024)] = ()
    """The best five classes of a classifier."""
    outputs: Annotated[tuple[OutputTensor, ...], at_most(1024)] = ()
    """Whole tensors, in msgpack results only."""
    transfer: OutputTransfer | None = None
    """Set if the outputs are too large for this message and were sent before it."""
    cause: ErrorCause | None = None
    error: Prose = ""
    accepted_at_s: Instant = 0.0
    """Wall clock of the source. The times below are this one plus the time that has passed since."""
    dispatched_at_s: Instant = 0.0
    completed_at_s: Instant = 0.0
    input_bytes: Quantity = 0
    trace: _Trace = ()


class AttemptOutcome(Outcome):
    """What an attempt has come to, for the source of its request (`devices/{device}/outcomes`).

    The source publishes the payload of the first one as the request's `Outcome`.
    """

    TOPIC: ClassVar[Topic[...]] = topics.outcomes


class LargeOutcome(Outcome):
    """The header of an outcome whose outputs follow it as tensors (`streams/{stream}/outputs`), in chunks."""

    TOPIC: ClassVar[Topic[...]] = topics.outputs

    tensors: Annotated[tuple[TensorHeader, ...], at_most(1024)]
    """The outputs, in the order in which they follow."""


class Confirmation(Message):
    """The collector has stored these outcomes. Their sources may delete them (`collector/confirmations`)."""

    TOPIC: ClassVar = topics.confirmations

    collector: Name
    request_ids: Annotated[tuple[RequestId, ...], at_most(10_000)]
