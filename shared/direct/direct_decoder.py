"""Decoder of the messages that arrive at one side of a direct connection, without I/O."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.bus.errors import DecodeError
from shared.direct.direct_messages import (
    PREAMBLE_BYTES,
    DirectEvent,
    FrameArrived,
    Greeted,
    MessageKind,
    Side,
    read_event,
    read_preamble,
    read_size,
)
from shared.direct.memory_budget import MemoryBudget

MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_SCRATCH_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class _Frame:
    """A frame that has begun.

    Attributes:
        filled: bytes of it that have arrived.
    """

    buffer: memoryview
    first_at_s: float
    first_bytes: int = 0
    filled: int = 0


@dataclass(slots=True)
class _Body:
    """The body of FRAME or PART that is being read into its place in a frame."""

    frame: _Frame
    stop: int

    @property
    def place(self) -> memoryview:
        return self.frame.buffer[self.frame.filled : self.stop]


class DirectDecoder:
    """Decodes the messages that arrive at one side of a connection.

    A state machine without I/O. The caller reads bytes into `buffers()` and states their number with `received`. Frames
    are read straight into their memory. A message is checked before memory is reserved for it. After a greeting nothing
    is decoded until `admit`, so a stranger cannot make this side reserve memory.

    Invariants: while a body is being read into its place, the scratch buffer is empty. The budget holds the bytes of
    the large frame and of the small one that is being read, until they are handed over in `FrameArrived`.

    Attributes:
        frame_bytes: bytes of frames that have arrived, those of frames that are not whole included.
    """

    def __init__(self, side: Side, budget: MemoryBudget, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """Begin before the greeting.

        Args:
            side: where the decoder reads.
            budget: memory of the frames that have begun.
            max_frame_bytes: largest frame.
        """
        self._side = side
        self._budget = budget
        self._max_frame_bytes = max_frame_bytes
        self._is_greeted = self._is_admitted = self._needs_room = False
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._start = self._stop = 0
        self._body: _Body | None = None
        self._large: _Frame | None = None
        self.frame_bytes = 0

    @property
    def has_begun_frame(self) -> bool:
        """True while a frame has begun and not arrived whole."""
        return self._large is not None or self._body is not None

    @property
    def needs_room(self) -> bool:
        """True while the next large frame waits for memory. The caller then reads nothing, and calls `resume` later."""
        return self._needs_room

    def buffers(self) -> list[memoryview]:
        """Return the buffers to fill, in this order; none while the decoder waits for `admit` or for memory."""
        if self._is_waiting:
            return []
        if self._body is not None:
            # With the next preamble, so that a part costs one system call.
            return [self._body.place, self._scratch[:PREAMBLE_BYTES]]
        return [self._scratch[self._stop :]]

    def received(self, count: int, now_s: float) -> list[DirectEvent]:
        """Take the number of bytes that were read into `buffers()`.

        Raises:
            DecodeError: the bytes are none of this protocol, or exceed a bound. The connection must end.
            MemoryError: there is no memory for a frame. The connection must end.
        """
        events: list[DirectEvent] = []
        if self._body is not None:
            taken = min(count, len(self._body.place))
            self._fill(self._body, taken, events)
            count -= taken
        self._stop += count
        self._decode(events, now_s)
        return events

    def admit(self, now_s: float) -> list[DirectEvent]:
        """Decode what follows the greeting, which the caller has checked.

        Raises:
            DecodeError, MemoryError: as `received`.
        """
        self._is_admitted = True
        return self.resume(now_s)

    def resume(self, now_s: float) -> list[DirectEvent]:
        """Decode further after a wait for memory.

        Raises:
            DecodeError, MemoryError: as `received`.
        """
        self._needs_room = False
        events: list[DirectEvent] = []
        self._decode(events, now_s)
        return events

    def close(self) -> None:
        """Drop frames that have not arrived whole and give their memory back. Call it last."""
        if self._body is not None and self._body.frame is not self._large:
            self._budget.give(len(self._body.frame.buffer))
        self._body = None
        self._drop_large()
        self._needs_room = True

    @property
    def _is_waiting(self) -> bool:
        return self._needs_room or (self._is_greeted and not self._is_admitted)

    def _decode(self, events: list[DirectEvent], now_s: float) -> None:
        """Decode the messages in the scratch buffer."""
        while self._body is None and not self._is_waiting and self._stop - self._start >= PREAMBLE_BYTES:
            kind, length = read_preamble(self._scratch, self._start, self._side, is_greeted=self._is_greeted)
            if kind in (MessageKind.FRAME, MessageKind.PART):
                self._begin_body(kind, length, events, now_s)
                continue
            body_start = self._start + PREAMBLE_BYTES
            if self._stop - body_start < length:
                break
            body = bytes(self._scratch[body_start : body_start + length])
            if kind is MessageKind.BEGIN and not self._begin_large(read_size(body), now_s):
                break
            self._start = body_start + length
            if kind is MessageKind.CANCEL:
                self._drop_large()
            if (event := read_event(kind, body)) is not None:
                self._is_greeted = self._is_greeted or isinstance(event, Greeted)
                events.append(event)
        # What is left is the beginning of a message, or waits.
        left = bytes(self._scratch[self._start : self._stop])
        self._scratch[: len(left)] = left
        self._start, self._stop = 0, len(left)

    def _begin_body(self, kind: MessageKind, length: int, events: list[DirectEvent], now_s: float) -> None:
        """Find the place of a body, and move the part of it that has arrived there."""
        if kind is MessageKind.FRAME:
            self._budget.take_always(length)
            body = _Body(self._new_frame(length, now_s), length)
        elif self._large is None or self._large.filled + length > len(self._large.buffer):
            raise DecodeError("a part of no frame, or beyond its end")
        else:
            body = _Body(self._large, self._large.filled + length)
        start = self._start + PREAMBLE_BYTES
        have = min(length, self._stop - start)
        body.place[:have] = self._scratch[start : start + have]
        self._start = start + have
        if not body.frame.filled:
            body.frame.first_bytes = have
        self._body = body
        self._fill(body, have, events)

    def _fill(self, body: _Body, count: int, events: list[DirectEvent]) -> None:
        """Count bytes that are in their place, and end the body and its frame with their last one."""
        frame = body.frame
        frame.filled += count
        self.frame_bytes += count
        if frame.filled == body.stop:
            self._body = None
        if frame.filled == len(frame.buffer):
            if frame is self._large:
                self._large = None
            events.append(FrameArrived(frame.buffer.toreadonly(), frame.first_at_s, frame.first_bytes))

    def _begin_large(self, size_bytes: int, now_s: float) -> bool:
        if self._large is not None:
            raise DecodeError("a large frame within another")
        if not 0 < size_bytes <= self._max_frame_bytes:
            raise DecodeError(f"a frame of {size_bytes} bytes; at most {self._max_frame_bytes} are accepted")
        self._needs_room = not self._budget.take(size_bytes)
        if self._needs_room:
            return False
        self._large = self._new_frame(size_bytes, now_s)
        return True

    def _new_frame(self, size_bytes: int, now_s: float) -> _Frame:
        """Return a frame in new memory, which is reserved already."""
        try:
            return _Frame(_allocate(size_bytes), now_s)
        except MemoryError:
            self._budget.give(size_bytes)
            raise

    def _drop_large(self) -> None:
        # CANCEL may follow the last part: then there is nothing to drop.
        if self._large is not None:
            self._budget.give(len(self._large.buffer))
            self._large = None


def _allocate(size_bytes: int) -> memoryview:
    # numpy neither clears the memory nor touches it: a frame that never arrives costs address space only.
    return np.empty(size_bytes, np.uint8).data
