"""Memory that two processes share; here both ends are in one process."""

import fcntl
import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.errors import DecodeError
from shared.direct.shared_arena import PeerMemory, SharedArena, SpanAllocator

PAGE = 4096


@pytest.fixture
def arena() -> Iterator[SharedArena]:
    made = SharedArena(64 * PAGE)
    yield made
    made.close()


def test_a_frame_is_read_where_it_was_put(arena: SharedArena) -> None:
    memory = PeerMemory(arena.descriptor, arena.size_bytes)
    freed: list[int] = []
    arena.put([b"first"], 5)
    offset = arena.put([b"second ", memoryview(b"frame")], 12)
    assert offset == PAGE
    frame = memory.frame(offset, 12, lambda: freed.append(1))
    assert bytes(frame) == b"second frame"
    assert frame.readonly
    part = frame[7:]
    del frame
    gc.collect()
    assert freed == []
    del part
    gc.collect()
    assert freed == [1]


def test_a_full_arena_takes_no_more_until_something_is_freed(arena: SharedArena) -> None:
    offsets = [arena.put([bytes(PAGE)], PAGE) for _ in range(64)]
    assert arena.put([b"x"], 1) is None
    arena.free(offsets[7] or 0)
    assert arena.put([b"x"], 1) == 7 * PAGE
    assert arena.put([bytes(65 * PAGE)], 65 * PAGE) is None
    # What the peer frees without having it changes nothing.
    arena.free(12345)


@given(st.lists(st.integers(1, 20 * PAGE), max_size=40))
def test_spans_never_overlap_and_all_come_back(sizes: list[int]) -> None:
    spans = SpanAllocator(64 * PAGE)
    taken: dict[int, int] = {}
    for size in sizes:
        offset = spans.take(size)
        if offset is None:
            for freed in list(taken)[::2]:
                spans.give(freed)
                del taken[freed]
            continue
        assert offset % PAGE == 0
        assert offset + size <= 64 * PAGE
        assert all(offset + size <= other or other + length <= offset for other, length in taken.items())
        taken[offset] = size
    for offset in taken:
        spans.give(offset)
    assert spans.take(64 * PAGE) == 0


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (64 * PAGE, 1), (0, 64 * PAGE + 1), (2**63, 1), (1, 2**63)])
def test_a_frame_outside_the_memory_is_refused(arena: SharedArena, offset: int, length: int) -> None:
    memory = PeerMemory(arena.descriptor, arena.size_bytes)
    with pytest.raises(DecodeError, match="in a memory of"):
        memory.frame(offset, length, lambda: None)


def test_a_file_that_could_shrink_is_refused() -> None:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, PAGE)
        with pytest.raises(DecodeError, match="seals"):
            PeerMemory(descriptor, PAGE)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        with pytest.raises(DecodeError, match="not of 8192"):
            PeerMemory(descriptor, 2 * PAGE)
        assert bytes(PeerMemory(descriptor, PAGE).frame(0, 1, lambda: None)) == b"\0"
    finally:
        os.close(descriptor)


def test_a_descriptor_of_something_else_is_refused() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(DecodeError):
            PeerMemory(reader, PAGE)
    finally:
        os.close(reader)
        os.close(writer)


def test_the_memory_of_a_peer_outlives_it() -> None:
    arena = SharedArena(PAGE)
    memory = PeerMemory(arena.descriptor, PAGE)
    arena.put([b"kept"], 4)
    arena.close()
    assert bytes(memory.frame(0, 4, lambda: None)) == b"kept"
