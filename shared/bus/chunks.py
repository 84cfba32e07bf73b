"""Transfers of large messages in chunks: splitting by the sender, reassembly by the receiver.

A chunk is a frame (`shared.bus.frame`). Its header states transfer, offset and total size, its only tensor is the
slice. TCP and TLS protect the bytes, so a chunk has no checksum. The receiver checks that the slices of a transfer
agree about its size and sender, and cover it exactly once.
"""

import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from shared.bus.errors import DecodeError
from shared.bus.frame import Buffer, decode_frame, encode_frame

# A prototype's median hop through mosquitto: 0.8 MB take 0.97 ms in chunks of 512 kB, 0.84 ms of 1 MB and of 4 MB;
# 12.8 MB take 9.6, 8.6 and 10.2 ms. Larger chunks also fill the broker's memory.
CHUNK_BYTES = 1024 * 1024
_VERSION = 1
_MAX_ID_BYTES = 64
_MAX_SENDER_CHARACTERS = 256
MAX_CHUNKS = 8192
# Number of ids of finished transfers in memory: late duplicates must not begin these transfers again.
_REMEMBERED_IDS = 1024
# Offsets are unsigned numbers of at most eight bytes in msgpack.
_LARGEST_OFFSET = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """One part of a transfer.

    Attributes:
        transfer_id: opaque, unique per transfer, at most 64 bytes.
        sender: who sends it, possibly empty.
        offset: position of the slice in the whole.
        total_bytes: size of the whole.
        data: the slice, a view into the chunk's payload.
    """

    transfer_id: bytes
    sender: str
    offset: int
    total_bytes: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Complete:
    """A transfer whose bytes have all arrived.

    Attributes:
        transfer_id: as sent.
        sender: as sent.
        buffer: the message, read-only. A view into the chunk if there was only one.
        first_chunk_at_s: when the first chunk was accepted.
        completed_at_s: when the last chunk was accepted.
        size_bytes: size of the whole.
        first_chunk_bytes: size of the chunk that arrived first. For a bandwidth estimate: `size_bytes -
            first_chunk_bytes` bytes took `completed_at_s - first_chunk_at_s`.
    """

    transfer_id: bytes
    sender: str
    buffer: memoryview
    first_chunk_at_s: float
    completed_at_s: float
    size_bytes: int
    first_chunk_bytes: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A transfer that the receiver gave up before it was complete.

    Attributes:
        transfer_id: as sent.
        sender: as sent.
        received_bytes: bytes that had arrived.
        total_bytes: announced size of the message.
        reason: the cause.
    """

    transfer_id: bytes
    sender: str
    received_bytes: int
    total_bytes: int
    reason: str


def split_message(
    transfer_id: bytes, buffers: Sequence[Buffer], chunk_bytes: int = CHUNK_BYTES, *, sender: str = ""
) -> Iterator[list[Buffer]]:
    """Split a message into the payloads of its chunks.

    Args:
        transfer_id: unique per transfer, 1 to 64 bytes.
        buffers: the message in pieces, as `encode_frame` returns it; at least one byte together.
        chunk_bytes: size of a slice. A payload has some 80 bytes more.
        sender: who sends it.

    Yields:
        Payloads in ascending order of offset, in pieces. The slices are referenced, not copied.

    Raises:
        ValueError: the message is empty or needs more than 8192 chunks, or the id is too short or too long.
    """
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    total_bytes = sum(view.nbytes for view in views)
    if not 1 <= len(transfer_id) <= _MAX_ID_BYTES:
        raise ValueError(f"a transfer id has 1 to {_MAX_ID_BYTES} bytes")
    if chunk_bytes < 1 or not 1 <= total_bytes <= chunk_bytes * MAX_CHUNKS:
        raise ValueError(f"cannot send {total_bytes} bytes in at most {MAX_CHUNKS} chunks of {chunk_bytes}")
    offset = 0
    for pieces in _slices(views, chunk_bytes):
        size_bytes = sum(piece.nbytes for piece in pieces)
        yield _encode_chunk(transfer_id, sender, offset, total_bytes, pieces, size_bytes)
        offset += size_bytes


def chunk_overhead_bytes(transfer_id: bytes, sender: str) -> int:
    """Return the bytes that a chunk's payload has beside its slice, at most."""
    return len(_lead(transfer_id, sender, _LARGEST_OFFSET, _LARGEST_OFFSET))


def decode_chunk(payload: Buffer) -> Chunk:
    """Decode the payload of a chunk without copying its slice.

    Raises:
        DecodeError: the payload is not a chunk.
    """
    header, tensors = decode_frame(payload)
    version, transfer_id, sender = header.get("v"), header.get("transfer"), header.get("sender", "")
    offset, total_bytes = header.get("offset"), header.get("total_bytes")
    if version != _VERSION:
        raise DecodeError(f"a chunk of version {str(version)[:32]!r}, and not {_VERSION}")
    if not isinstance(transfer_id, bytes) or not 1 <= len(transfer_id) <= _MAX_ID_BYTES:
        raise DecodeError("a chunk without a transfer id")
    if not isinstance(sender, str) or len(sender) > _MAX_SENDER_CHARACTERS:
        raise DecodeError("a chunk's sender is not a name")
    # `isinstance` would let booleans through.
    if type(offset) is not int or type(total_bytes) is not int or len(tensors) != 1:
        raise DecodeError("a chunk without offset, total or slice")
    end = offset + len(tensors[0])
    if not 0 <= offset < end <= total_bytes:
        raise DecodeError(f"a chunk of bytes [{offset}, {end}) in a message of {total_bytes}")
    return Chunk(transfer_id, sender, offset, total_bytes, tensors[0])


@dataclass(slots=True)
class _Transfer:
    """A transfer under way.

    Invariant: the received slices `[starts[i], stops[i])` are disjoint and ascending, and add up to `received_bytes`.
    """

    sender: str
    buffer: memoryview
    first_chunk_at_s: float
    first_chunk_bytes: int
    last_chunk_at_s: float
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    received_bytes: int = 0

    def add(self, chunk: Chunk, now_s: float) -> bool:
        """Copy the slice into its place.

        Returns:
            False if the same slice had arrived before.

        Raises:
            DecodeError: the chunk does not fit to those before.
        """
        start, stop = chunk.offset, chunk.offset + len(chunk.data)
        if chunk.total_bytes != len(self.buffer) or chunk.sender != self.sender:
            raise DecodeError("the chunks of a transfer disagree about its size or sender")
        # Slices are disjoint and ascending, so only the two neighbours of the new one can overlap it.
        index = bisect.bisect_left(self.starts, start)
        if index < len(self.starts) and self.starts[index] == start and self.stops[index] == stop:
            return False
        if (index and self.stops[index - 1] > start) or (index < len(self.starts) and self.starts[index] < stop):
            raise DecodeError(f"chunk [{start}, {stop}) overlaps another of its transfer")
        if len(self.starts) == MAX_CHUNKS:
            raise DecodeError(f"a transfer of more than {MAX_CHUNKS} chunks")
        self.buffer[start:stop] = chunk.data
        self.starts.insert(index, start)
        self.stops.insert(index, stop)
        self.received_bytes += stop - start
        self.last_chunk_at_s = now_s
        return True


def _cleared(size_bytes: int) -> memoryview:
    return memoryview(bytearray(size_bytes))


class Reassembler:
    """Reassembles transfers from chunks in any order, within bounds on memory and on their number.

    A state machine without clock and I/O. Duplicates are ignored, also those of finished transfers. Chunks of one
    transfer that overlap or do not agree end that transfer. A new transfer that does not fit evicts the transfers that
    have been without progress longest. Their senders retry.

    Invariants. `_transfers` is in ascending order of the last progress, so that the first is the next to expire or to
    be evicted. `_held_bytes` is the sum of the announced sizes in `_transfers` and at most `max_bytes`.
    """

    def __init__(
        self,
        max_bytes: int = 256 * 1024 * 1024,
        max_transfers: int = 64,
        timeout_s: float = 30.0,
        *,
        repeats: bool = False,
        allocate: Callable[[int], memoryview] = _cleared,
    ) -> None:
        """Start empty.

        Args:
            max_bytes: bound on the announced sizes of all transfers under way together.
            max_transfers: bound on the number of transfers under way.
            timeout_s: a transfer expires after this time without progress.
            repeats: senders repeat a transfer under the same id, so late duplicates may begin it again.
            allocate: returns writable memory of so many bytes. It need not be cleared: every byte of it will be
                written, or none is used.
        """
        self._max_bytes = max_bytes
        self._repeats = repeats
        self._allocate = allocate
        self._max_transfers = max_transfers
        self._timeout_s = timeout_s
        self._transfers: OrderedDict[bytes, _Transfer] = OrderedDict()
        self._held_bytes = 0
        self._finished: OrderedDict[bytes, None] = OrderedDict()
        # Bounded by `max_transfers`, in case `expire` is not called.
        self._evicted: list[Expired] = []

    @property
    def held_bytes(self) -> int:
        """Memory reserved for transfers under way, in bytes."""
        return self._held_bytes

    def __len__(self) -> int:
        """Return the number of transfers under way."""
        return len(self._transfers)

    def accept(self, payload: Buffer, now_s: float) -> Complete | None:
        """Add one chunk.

        Args:
            payload: the chunk. Must not change afterwards: a message of a single chunk stays in it.
            now_s: the time on a monotonic clock.

        Returns:
            The transfer if this chunk completes it.

        Raises:
            DecodeError: the payload is not a chunk, is too large, or does not fit to earlier ones of its transfer.
        """
        chunk = decode_chunk(payload)
        if chunk.transfer_id in self._finished:
            return None
        if chunk.total_bytes > self._max_bytes:
            raise DecodeError(f"a message of {chunk.total_bytes} bytes; at most {self._max_bytes} are accepted")
        transfer = self._transfers.get(chunk.transfer_id)
        # The common case of small messages: no buffer, no copy.
        if transfer is None and len(chunk.data) == chunk.total_bytes:
            self._remember(chunk.transfer_id)
            return Complete(
                chunk.transfer_id, chunk.sender, chunk.data, now_s, now_s, chunk.total_bytes, chunk.total_bytes
            )
        if transfer is None:
            transfer = self._begin(chunk, now_s)
        try:
            progressed = transfer.add(chunk, now_s)
        except DecodeError:
            # Any of the chunks may be the wrong one, so the transfer ends. The sender repeats it under another id.
            self._drop(chunk.transfer_id)
            raise
        # A repeated duplicate is no progress: it must not keep a dead transfer alive.
        if progressed:
            self._transfers.move_to_end(chunk.transfer_id)
        if transfer.received_bytes < chunk.total_bytes:
            return None
        self._drop(chunk.transfer_id)
        return Complete(
            chunk.transfer_id,
            transfer.sender,
            transfer.buffer.toreadonly(),
            transfer.first_chunk_at_s,
            now_s,
            chunk.total_bytes,
            transfer.first_chunk_bytes,
        )

    def expire(self, now_s: float) -> list[Expired]:
        """Give up transfers without progress; return them and those that were evicted since the last call."""
        expired, self._evicted = self._evicted, []
        while self._transfers:
            transfer_id, transfer = next(iter(self._transfers.items()))
            if now_s - transfer.last_chunk_at_s < self._timeout_s:
                break
            expired.append(self._give_up(transfer_id, f"no progress for {self._timeout_s:g} s"))
        return expired

    def _begin(self, chunk: Chunk, now_s: float) -> _Transfer:
        # The whole buffer is allocated at the first chunk, so the announced size counts, not what has arrived.
        while self._transfers and (
            self._held_bytes + chunk.total_bytes > self._max_bytes or len(self._transfers) >= self._max_transfers
        ):
            evicted = self._give_up(next(iter(self._transfers)), "made room for a newer transfer")
            self._evicted = [*self._evicted[-(self._max_transfers - 1) :], evicted]
        buffer = self._allocate(chunk.total_bytes)
        transfer = _Transfer(chunk.sender, buffer, now_s, len(chunk.data), now_s)
        self._transfers[chunk.transfer_id] = transfer
        self._held_bytes += chunk.total_bytes
        return transfer

    def _give_up(self, transfer_id: bytes, reason: str) -> Expired:
        transfer = self._transfers[transfer_id]
        self._drop(transfer_id)
        return Expired(transfer_id, transfer.sender, transfer.received_bytes, len(transfer.buffer), reason)

    def _drop(self, transfer_id: bytes) -> None:
        """Free a transfer's buffer and keep its id, so that late chunks do not begin it again."""
        self._held_bytes -= len(self._transfers.pop(transfer_id).buffer)
        self._remember(transfer_id)

    def _remember(self, transfer_id: bytes) -> None:
        if self._repeats:
            return
        self._finished[transfer_id] = None
        if len(self._finished) > _REMEMBERED_IDS:
            self._finished.popitem(last=False)


def _slices(views: list[memoryview], chunk_bytes: int) -> Iterator[list[memoryview]]:
    pieces: list[memoryview] = []
    room = chunk_bytes
    for view in views:
        position = 0
        while position < view.nbytes:
            piece = view[position : position + room]
            pieces.append(piece)
            position += piece.nbytes
            room -= piece.nbytes
            if not room:
                yield pieces
                pieces, room = [], chunk_bytes
    if pieces:
        yield pieces


def _encode_chunk(
    transfer_id: bytes, sender: str, offset: int, total_bytes: int, pieces: list[memoryview], size_bytes: int
) -> list[Buffer]:
    # The frame of an empty tensor, with the real length in its last four bytes: the slice may be in several pieces.
    lead = _lead(transfer_id, sender, offset, total_bytes)
    return [lead[:-4] + size_bytes.to_bytes(4, "big"), *pieces]


def _lead(transfer_id: bytes, sender: str, offset: int, total_bytes: int) -> bytes:
    header = {"v": _VERSION, "transfer": transfer_id, "sender": sender, "offset": offset, "total_bytes": total_bytes}
    return bytes(encode_frame(header, [b""])[0])
