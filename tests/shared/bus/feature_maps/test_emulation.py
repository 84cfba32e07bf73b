"""The transport over emulated links: with a transport that notes times, and with a real broker."""

import asyncio
import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.feature_maps.chunk_sender import Pace
from shared.bus.feature_maps.emulation import FinishedSend, ShapedTransport
from shared.bus.feature_maps.link_schedule import LinkRate, LinkSchedule
from shared.bus.feature_maps.transport import SentMessage
from shared.bus.frame import Buffer, frame_size_bytes
from shared.transport_mode import Carrier, TransportMode

MB = 1_000_000


class NotingTransport:
    """Carries nothing: asks for leave chunk by chunk, as a transport does, and notes when it was given."""

    def __init__(self, chunk_bytes: int) -> None:
        self.chunk_bytes = chunk_bytes
        self.released: list[tuple[str, int, float]] = []
        self.asked = asyncio.Event()

    async def send(
        self, device: str, buffers: Sequence[Buffer], *, pace: Pace | None = None, mode: TransportMode | None = None
    ) -> SentMessage:
        clock, size_bytes = asyncio.get_running_loop(), frame_size_bytes(buffers)
        started_at_s = clock.time()
        for start in range(0, size_bytes, self.chunk_bytes):
            stop = min(start + self.chunk_bytes, size_bytes)
            self.asked.set()
            if pace is not None:
                await pace(stop)
            self.released.append((device, stop, clock.time()))
        return SentMessage(size_bytes, started_at_s, clock.time(), self.carrier(device, mode))

    def carrier(self, device: str, mode: TransportMode | None = None) -> Carrier:
        return Carrier.DIRECT if mode is TransportMode.DIRECT else Carrier.MQTT

    def passes_others(self, device: str, size_bytes: int, mode: TransportMode | None = None) -> bool:
        return True

    def send_now(self, device: str, buffers: Sequence[Buffer], mode: TransportMode | None = None) -> bool:
        return True


async def test_no_chunk_is_released_before_its_time() -> None:
    inner = NotingTransport(chunk_bytes=2_500)
    shaped = ShapedTransport(inner, {"server": LinkRate(bandwidth_mbps=8.0, latency_ms=5.0)})
    sent = await shaped.send("server", [bytes(10_000)])
    for _, stop, at_s in inner.released:
        assert at_s - sent.started_at_s >= 0.005 + stop / MB - 1e-6
    assert [stop for _, stop, _ in inner.released] == [2_500, 5_000, 7_500, 10_000]
    assert sent.completed_at_s - sent.started_at_s >= 0.015 - 1e-6


async def test_sends_of_one_device_wait_for_each_other_whatever_the_receiver() -> None:
    inner = NotingTransport(chunk_bytes=MB)
    shaped = ShapedTransport(inner, {"a": LinkRate(8.0), "b": LinkRate(8.0)})
    first, second = await asyncio.gather(shaped.send("a", [bytes(10_000)]), shaped.send("b", [bytes(10_000)]))
    assert second.started_at_s - first.started_at_s >= 0.01 - 1e-6
    assert [device for device, _, _ in inner.released] == ["a", "b"]
    assert inner.released[1][2] - first.started_at_s >= 0.02 - 1e-6


@pytest.mark.parametrize("senders", [1, 3])
async def test_a_train_of_sends_keeps_to_the_schedule_and_none_is_faster_than_the_link(senders: int) -> None:
    inner = NotingTransport(chunk_bytes=4_000)
    shaped = ShapedTransport(inner, {"server": LinkRate(bandwidth_mbps=80.0, latency_ms=1.0)})
    sent: list[SentMessage] = []

    async def send() -> None:
        sent.append(await shaped.send("server", [bytes(10_000)]))

    async def sender() -> None:
        for _ in range(12 // senders):
            await send()

    await asyncio.gather(*(sender() for _ in range(senders)))
    for before, after in pairwise(sent):
        assert after.started_at_s - before.started_at_s >= 0.002 - 1e-6
    for each in sent:
        assert each.completed_at_s - each.started_at_s >= 0.002 - 1e-6


async def test_what_was_given_up_is_not_made_up_for() -> None:
    inner = NotingTransport(chunk_bytes=MB)
    shaped = ShapedTransport(inner, {"server": LinkRate(0.0)})
    given_up = asyncio.ensure_future(shaped.send("server", [bytes(10_000)]))
    await inner.asked.wait()
    waiting = asyncio.ensure_future(shaped.send("server", [bytes(10_000)]))
    await asyncio.sleep(0)
    given_up_at_s = asyncio.get_running_loop().time()
    given_up.cancel()
    shaped.set_link("server", LinkRate(8.0))
    async with asyncio.timeout(5):
        sent = await waiting
    assert sent.started_at_s >= given_up_at_s


def test_a_send_that_waited_begins_when_the_link_was_free() -> None:
    before = FinishedSend(due_s=10.0, late_s=0.02, ended_s=10.025)
    assert before.next_start_s(9.0) == pytest.approx(10.0)
    assert before.next_start_s(10.01) == pytest.approx(10.01)


def test_a_send_asked_for_right_after_the_end_would_have_been_asked_for_earlier() -> None:
    before = FinishedSend(due_s=10.0, late_s=0.02, ended_s=10.025)
    assert before.next_start_s(10.026) == pytest.approx(10.001)
    assert before.next_start_s(10.06) == 10.06


def test_only_lateness_and_a_confirmation_are_made_up_for() -> None:
    """A real transport slower than the emulated link, or a machine that stood still, leaves no credit for a burst."""
    assert FinishedSend(due_s=10.0, late_s=0.0, ended_s=13.0).next_start_s(9.0) == pytest.approx(12.99)
    assert FinishedSend(due_s=10.0, late_s=3.0, ended_s=13.0).next_start_s(9.0) == pytest.approx(12.89)
    assert FinishedSend(due_s=10.0, late_s=0.0, ended_s=9.9).next_start_s(9.0) == 9.9
    assert FinishedSend().next_start_s(0.5) == 0.5


@given(
    late_ms=st.lists(st.floats(0.0, 60.0), min_size=20, max_size=60),
    confirmation_ms=st.floats(0.0, 8.0),
    waiting=st.booleans(),
)
def test_late_wake_ups_do_not_slow_a_busy_link_down(
    late_ms: list[float], confirmation_ms: float, waiting: bool
) -> None:
    """Every send takes 25 ms by the schedule; all of them together take that many times 25 ms, and not less."""
    schedule, before, now_s = LinkSchedule(LinkRate(20.0)), FinishedSend(), 100.0
    starts: list[float] = []
    for late in late_ms:
        start_s = before.next_start_s(0.0 if waiting and starts else now_s)
        starts.append(start_s)
        booking = schedule.book(start_s, 62_500)
        due_s = booking.deliver_at_s
        released_s = max(now_s, due_s + late / 1000)
        now_s = released_s + confirmation_ms / 1000
        schedule.cancel(now_s, booking)
        before = FinishedSend(due_s, released_s - due_s, now_s)
    assert all(after - first >= 0.025 - 1e-9 for first, after in pairwise(starts))
    assert starts[-1] - starts[0] == pytest.approx(0.025 * (len(starts) - 1))


async def test_a_transfer_on_a_dead_link_goes_when_the_link_is_back() -> None:
    inner = NotingTransport(chunk_bytes=MB)
    shaped = ShapedTransport(inner, {"server": LinkRate(0.0)})
    sending = asyncio.ensure_future(shaped.send("server", [bytes(100)]))
    async with asyncio.timeout(5):
        await inner.asked.wait()
        assert inner.released == []
        assert shaped.link("server") == LinkRate(0.0)
        shaped.set_link("server", LinkRate(1000.0))
        await sending
    assert len(inner.released) == 1


async def test_a_send_that_is_given_up_frees_the_link() -> None:
    inner = NotingTransport(chunk_bytes=MB)
    shaped = ShapedTransport(inner, {"server": LinkRate(0.0)})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await shaped.send("server", [bytes(100)])
    shaped.set_link("server", LinkRate(1000.0))
    async with asyncio.timeout(5):
        await shaped.send("server", [bytes(100)])
    assert len(inner.released) == 1


async def test_other_devices_are_not_delayed_by_default() -> None:
    inner = NotingTransport(chunk_bytes=MB)
    shaped = ShapedTransport(inner, {"far": LinkRate(0.0)})
    async with asyncio.timeout(5):
        await shaped.send("near", [bytes(10 * MB)])
    assert shaped.link("near") == LinkRate(math.inf)


async def test_the_pace_of_a_caller_is_kept_as_well() -> None:
    asked: list[int] = []

    async def pace(passed_bytes: int) -> None:
        asked.append(passed_bytes)

    inner = NotingTransport(chunk_bytes=40)
    await ShapedTransport(inner, {}).send("server", [bytes(100)], pace=pace)
    assert asked == [40, 80, 100]


async def test_the_mode_reaches_the_transport_and_its_carrier_comes_back() -> None:
    shaped = ShapedTransport(NotingTransport(1), {})
    sent = await shaped.send("server", [b"x"], mode=TransportMode.DIRECT)
    assert sent.carrier is shaped.carrier("server", TransportMode.DIRECT) is Carrier.DIRECT
    assert (await shaped.send("server", [b"x"])).carrier is shaped.carrier("server") is Carrier.MQTT
    # One network interface for all: nothing passes.
    assert not shaped.passes_others("server", 1)
