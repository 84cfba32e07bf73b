"""One connection against a peer that misbehaves, played with a plain socket."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from shared.direct.direct_channel import DirectChannel, DirectSendFailed
from shared.direct.direct_decoder import DirectDecoder
from shared.direct.direct_messages import (
    PART_BYTES,
    DirectEvent,
    FrameArrived,
    Greeted,
    MessageKind,
    Side,
    message,
)
from shared.direct.memory_budget import MemoryBudget
from tests.shared.direct.conftest import until

HELLO = message(MessageKind.HELLO, b"hello")


@dataclass
class Wire:
    """A channel, and the bare socket at its other end."""

    channel: DirectChannel
    end: socket.socket
    budget: MemoryBudget
    events: list[DirectEvent] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    async def closed(self) -> str:
        await until(lambda: self.reasons)
        return self.reasons[0]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    near, far = socket.socketpair()

    def note(channel: DirectChannel, event: DirectEvent) -> None:
        made.events.append(event)
        if isinstance(event, Greeted):
            channel.admit()

    budget = MemoryBudget(1 << 24)
    decoder = DirectDecoder(Side.ACCEPTING, budget)
    made = Wire(DirectChannel(near, decoder, note, lambda _, reason: made.reasons.append(reason)), far, budget)
    made.channel.start()
    yield made
    made.channel.close("the test is over")
    far.close()


async def test_bytes_in_any_pieces_become_frames(wire: Wire) -> None:
    wire.end.sendall(HELLO[:3])
    wire.end.sendall(HELLO[3:] + message(MessageKind.FRAME, b"one") + message(MessageKind.FRAME, b"two"))
    await until(lambda: len(wire.events) == 3)
    assert [bytes(event.buffer) for event in wire.events if isinstance(event, FrameArrived)] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no message of a direct connection"),
        (HELLO + bytes(16), "no message of a direct connection"),
        (HELLO + message(MessageKind.BEGIN, struct.pack(">Q", 1 << 40)), "are accepted"),
    ],
)
async def test_garbage_ends_the_connection(wire: Wire, data: bytes, reason: str) -> None:
    wire.end.sendall(data)
    assert reason in await wire.closed()
    assert wire.end.recv(1) == b""


async def test_a_frame_without_memory_for_it_ends_the_connection(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size_bytes: int) -> memoryview:
        raise MemoryError

    monkeypatch.setattr("shared.direct.direct_decoder._allocate", fail)
    wire.end.sendall(HELLO + message(MessageKind.BEGIN, struct.pack(">Q", 1 << 20)))
    assert await wire.closed() == "there is no memory for the frame"
    assert wire.budget.used_bytes == 0


async def test_a_peer_that_closes_one_direction_has_left(wire: Wire) -> None:
    wire.end.sendall(HELLO)
    wire.end.shutdown(socket.SHUT_WR)
    assert await wire.closed() == "the peer ended it"
    with pytest.raises(DirectSendFailed, match="has ended"):
        await wire.channel.send([b"x"])


async def test_a_send_to_a_peer_that_leaves_fails(wire: Wire) -> None:
    sending = asyncio.ensure_future(wire.channel.send([bytes(100 * PART_BYTES)]))
    small = asyncio.ensure_future(wire.channel.send([bytes(100)]))
    await asyncio.sleep(0)
    wire.end.close()
    for task in (sending, small):
        with pytest.raises(DirectSendFailed):
            await task


async def test_a_peer_that_does_not_read_gets_a_bounded_number_of_receipts(wire: Wire) -> None:
    wire.end.sendall(HELLO)
    sending = asyncio.ensure_future(wire.channel.send([bytes(100 * PART_BYTES)]))
    await asyncio.sleep(0)
    for _ in range(5000):
        wire.channel.post(message(MessageKind.RECEIPT, b"t"))
    assert await wire.closed() == "it does not read"
    with pytest.raises(DirectSendFailed):
        await sending


@pytest.mark.parametrize(
    ("data", "after_s", "reason"),
    [
        (b"", 6.0, "no greeting"),
        (HELLO, 13.0, "silent"),
        (
            HELLO + message(MessageKind.BEGIN, struct.pack(">Q", 400_000)) + message(MessageKind.PART, b"x"),
            61.0,
            "without progress",
        ),
    ],
)
async def test_a_peer_that_hangs_is_left(wire: Wire, data: bytes, after_s: float, reason: str) -> None:
    wire.end.sendall(data)
    if data:
        await until(lambda: wire.events)
    began_s = asyncio.get_running_loop().time()
    now_s = began_s
    while now_s < began_s + after_s and not wire.reasons:
        now_s += 0.5
        wire.channel.tick(now_s)
        if after_s > 20 and not wire.reasons:
            # Alive, but with nothing of its frame.
            wire.channel._heard_s = now_s
    assert reason in await wire.closed()
    assert now_s > began_s + after_s - 2


async def test_a_peer_that_is_held_back_does_not_count_as_silent(wire: Wire) -> None:
    wire.end.sendall(HELLO)
    await until(lambda: wire.events)
    wire.channel.pause()
    now_s = asyncio.get_running_loop().time()
    wire.channel.tick(now_s + 100.0)
    assert not wire.channel.is_closed
    wire.end.sendall(message(MessageKind.FRAME, b"late"))
    wire.channel.resume()
    await until(lambda: len(wire.events) == 2)


async def test_a_silent_side_shows_that_it_is_alive(wire: Wire) -> None:
    wire.end.sendall(HELLO)
    await until(lambda: wire.events)
    wire.channel.tick(asyncio.get_running_loop().time() + 4.0)
    assert wire.end.recv(100) == message(MessageKind.HEARTBEAT)
