"""Memory that one process shares with another of the same machine, for large frames (Linux).

The sending process owns a memory file (memfd) and copies frames into it. The receiving process maps the file read-only
and uses the frames where they lie. The file is sealed against shrinking: a shrunk file would end the receiver with
SIGBUS. The sender could change a frame while it is read, so both processes have to be of one user.
"""

import fcntl
import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.bus.errors import DecodeError
from shared.bus.frame import Buffer

ARENA_BYTES: Final = 64 * 1024 * 1024
_MAX_MAPPED_BYTES: Final = 1024 * 1024 * 1024
_PAGE_BYTES: Final = 4096


@dataclass(slots=True)
class SpanAllocator:
    """First-fit allocator of spans. Low offsets are used again first, so that few pages are ever touched.

    Invariant: free spans are in ascending order, and no two of them touch.

    Attributes:
        size_bytes: size of the memory.
    """

    size_bytes: int
    _free: list[tuple[int, int]] = field(init=False)
    _taken: dict[int, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._free = [(0, self.size_bytes)]

    def take(self, size_bytes: int) -> int | None:
        """Return the offset of a new span; None if no free one is large enough."""
        rounded = -(-size_bytes // _PAGE_BYTES) * _PAGE_BYTES
        for index, (offset, length) in enumerate(self._free):
            if length >= rounded:
                self._free[index : index + 1] = [(offset + rounded, length - rounded)] if length > rounded else []
                self._taken[offset] = rounded
                return offset
        return None

    def give(self, offset: int) -> None:
        """Free the span at an offset; an offset without a span is ignored."""
        length = self._taken.pop(offset, None)
        if length is None:
            return
        merged: list[tuple[int, int]] = []
        for start, size in sorted([*self._free, (offset, length)]):
            if merged and sum(merged[-1]) == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((start, size))
        self._free = merged


class SharedArena:
    """Memory into which this process copies frames for one peer."""

    def __init__(self, size_bytes: int = ARENA_BYTES) -> None:
        """Make the memory file. Its pages take memory from when they are first used.

        Raises:
            OSError: the system has no such files, or no descriptor left.
        """
        if not hasattr(os, "memfd_create"):
            raise OSError("this system has no memory files")
        self.size_bytes = size_bytes
        self.descriptor = os.memfd_create("segue-direct", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, size_bytes)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._memory = memoryview(mmap.mmap(self.descriptor, size_bytes))
        except OSError:
            os.close(self.descriptor)
            raise
        self._spans = SpanAllocator(size_bytes)

    def put(self, buffers: Sequence[Buffer], size_bytes: int) -> int | None:
        """Copy a frame and return its offset; None if there is no room for it."""
        offset = self._spans.take(size_bytes)
        if offset is None:
            return None
        position = offset
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            self._memory[position : position + len(view)] = view
            position += len(view)
        return offset

    def free(self, offset: int) -> None:
        """Take that the peer no longer reads the frame at an offset."""
        self._spans.give(offset)

    def close(self) -> None:
        """Release the memory; the peer's mapping keeps its own hold on it."""
        self._memory.release()
        os.close(self.descriptor)


class PeerMemory:
    """The arena of a peer, mapped read-only."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Map a memory file. The descriptor stays open and belongs to the caller.

        Raises:
            DecodeError: the file is not sealed against shrinking, or has another size than the peer states.
        """
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            real_bytes = os.fstat(descriptor).st_size
            if not seals & fcntl.F_SEAL_SHRINK or not 0 < size_bytes == real_bytes <= _MAX_MAPPED_BYTES:
                raise DecodeError(f"a memory file of {real_bytes} bytes and seals {seals}, not of {size_bytes} bytes")
            self._map = mmap.mmap(descriptor, size_bytes, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise DecodeError(f"no usable memory file: {error}") from error
        self._size_bytes = size_bytes

    def frame(self, offset: int, length: int, on_unused: Callable[[], None]) -> memoryview:
        """Return a frame where it lies.

        Args:
            offset: of its first byte.
            length: its size.
            on_unused: called when nothing refers to the frame any more, on any thread.

        Raises:
            DecodeError: the frame is not within the memory.
        """
        if not 0 < length <= self._size_bytes - offset:
            raise DecodeError(f"a frame of {length} bytes at {offset} in a memory of {self._size_bytes}")
        array = np.frombuffer(self._map, np.uint8, length, offset)
        # At the end of the process nobody needs the call.
        weakref.finalize(array, on_unused).atexit = False
        return array.data
