"""Outcomes whose outputs are too large for one message: their frames, and reassembly by whoever awaits a result.

Such an outcome is a frame (`shared.bus.frame`): its header is a `LargeOutcome`, its tensors are the outputs. The frame
is sent in chunks (`shared.bus.chunks`) on `streams/{stream}/outputs`. Then the outcome follows on the results topic,
without its outputs and with a `transfer`. The transfer's id belongs to the outcome, so that a repeated transfer
completes one that has lost chunks.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from shared.bus.chunks import Reassembler
from shared.bus.frame import Buffer, decode_frame, encode_frame
from shared.messages.base import MessageError, describe_faults
from shared.messages.requests import LargeOutcome, Outcome, OutputTensor, TensorHeader

# Largest frame of an outcome, that of one feature map: receivers reserve so much memory at most.
MAX_LARGE_OUTCOME_BYTES: Final = 256 * 1024 * 1024
# Smaller than the chunks of feature maps: applications take them on the connection of their results, where the broker
# sends up to 100 messages ahead of their acknowledgement.
OUTPUT_CHUNK_BYTES: Final = 256 * 1024
OUTPUT_CHUNK_CONTENT: Final = "application/vnd.segue.chunk"
LARGE_OUTCOME_CONTENT: Final = "application/vnd.segue.outcome"

_ID_BYTES: Final = 12
_RAW: Final = "raw"


def transfer_id_of(outcome: Outcome) -> bytes:
    """Return the id under which the outputs of an outcome are sent, each time."""
    identity = (outcome.stream, outcome.request_id, outcome.attempt, outcome.completed_at_s)
    return hashlib.blake2b(repr(identity).encode(), digest_size=_ID_BYTES).digest()


def encode_large_outcome(outcome: Outcome, tensors: Sequence[tuple[TensorHeader, Buffer]]) -> list[Buffer]:
    """Return the pieces of an outcome's frame. The tensors are referenced, not copied.

    Raises:
        ValueError: the header is too large for a frame.
    """
    fields = outcome.model_dump(mode="python", exclude={"outputs", "transfer"})
    header = LargeOutcome.model_validate({**fields, "tensors": [spec.model_dump() for spec, _ in tensors]})
    return encode_frame(header.model_dump(mode="python"), [buffer for _, buffer in tensors])


@dataclass(frozen=True, slots=True)
class AssembledOutcome:
    """An outcome whose frame is complete.

    Attributes:
        header: the outcome without its outputs.
        tensors: bytes of the outputs, views into `frame`.
        frame: the whole frame.
    """

    header: LargeOutcome
    tensors: tuple[memoryview, ...]
    frame: memoryview

    def without_outputs(self) -> Outcome:
        """Return the outcome without its outputs."""
        return Outcome.model_validate(self.header.model_dump(exclude={"tensors"}))

    def whole(self) -> Outcome:
        """Return the outcome with its outputs, which are copied."""
        outputs = tuple(
            # Beyond the bound of an output in a message, hence not validated: the reassembly has bounded it.
            OutputTensor.model_construct(name=spec.name, dtype=spec.dtype, shape=spec.shape, data=bytes(view))
            for spec, view in zip(self.header.tensors, self.tensors, strict=True)
        )
        return self.without_outputs().model_copy(update={"outputs": outputs})


def decode_large_outcome(frame: Buffer) -> AssembledOutcome:
    """Decode an outcome's frame without copying its outputs.

    Raises:
        MessageError: the frame contains no outcome, or its tensors do not fit to their headers.
        DecodeError: the bytes are no frame.
    """
    document, views = decode_frame(frame)
    try:
        header = LargeOutcome.model_validate(document)
    except ValidationError as error:
        raise MessageError(describe_faults(error)) from None
    if len(views) != len(header.tensors):
        raise MessageError(f"{len(views)} outputs arrived and {len(header.tensors)} are described")
    for spec, view in zip(header.tensors, views, strict=True):
        if spec.codec != _RAW or spec.size_bytes != len(view):
            raise MessageError(f"output {spec.name!r}: {len(view)} bytes arrived, {spec.size_bytes} are described")
    return AssembledOutcome(header, tuple(views), memoryview(frame).toreadonly())


class OutcomeAssembler:
    """Reassembles large outcomes from their chunks, within bounds on memory. A state machine without clock and I/O."""

    def __init__(self, max_bytes: int = 2 * MAX_LARGE_OUTCOME_BYTES) -> None:
        """Start empty, with a bound on the memory of all transfers under way together."""
        self._reassembler = Reassembler(max_bytes, repeats=True)

    def add(self, payload: Buffer, stream: str, request_id: str, now_s: float) -> AssembledOutcome | None:
        """Add a chunk; return the outcome if it is complete.

        Args:
            payload: the chunk. Must not change afterwards.
            stream: stream of the topic on which it came.
            request_id: request that its message names.
            now_s: the time on a monotonic clock.

        Raises:
            MessageError: the transfer is no outcome of this request.
            DecodeError: the payload is no chunk, is too large, or does not fit to earlier ones of its transfer.
        """
        self.expire(now_s)
        complete = self._reassembler.accept(payload, now_s)
        if complete is None:
            return None
        assembled = decode_large_outcome(complete.buffer)
        if (assembled.header.stream, assembled.header.request_id) != (stream, request_id):
            raise MessageError(f"the outputs of another request than {request_id} of {stream}")
        return assembled

    def expire(self, now_s: float) -> None:
        """Give up transfers that have made no progress for half a minute."""
        self._reassembler.expire(now_s)
