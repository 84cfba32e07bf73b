"""Messages are held back as the emulated link would, also when it changes under them."""

import asyncio

import pytest

from services.monitor.emulated_conditions import EmulatedConditions
from shared.messages.devices import EmulatedLink, Emulation


def link(bandwidth_mbps: float, latency_ms: float = 0.0) -> Emulation:
    target = EmulatedLink(target="server", bandwidth_mbps=bandwidth_mbps, latency_ms=latency_ms)
    return Emulation(device="pi", load_factor=2.0, links=(target,))


async def timed_ms(conditions: EmulatedConditions, size_bytes: int) -> float:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    assert await conditions.until_delivered("server", size_bytes, 10.0)
    return 1000 * (loop.time() - started_s)


async def test_a_message_takes_at_least_what_the_link_needs() -> None:
    conditions = EmulatedConditions()
    conditions.obey(link(8.0, 20.0))
    assert conditions.load_factor == 2.0
    assert await timed_ms(conditions, 30_000) >= 50.0 - 0.5


async def test_without_emulation_nothing_is_held_back() -> None:
    assert await EmulatedConditions().until_delivered("server", 10**9, 0.01)


async def test_a_link_that_is_down_loses_the_message_and_frees_its_place() -> None:
    conditions = EmulatedConditions()
    conditions.obey(link(0.0))
    assert not await conditions.until_delivered("server", 100, 0.02)
    conditions.obey(link(1000.0))
    assert await conditions.until_delivered("server", 100, 20.0)


async def test_a_message_under_way_feels_the_link_come_back() -> None:
    conditions = EmulatedConditions()
    conditions.obey(link(0.0))
    waiting = asyncio.create_task(conditions.until_delivered("server", 100, 30.0))
    await asyncio.sleep(0)
    conditions.obey(link(1000.0))
    assert await asyncio.wait_for(waiting, 20.0)


async def test_a_link_that_is_no_longer_mentioned_has_no_limit() -> None:
    conditions = EmulatedConditions()
    conditions.obey(link(0.001))
    conditions.obey(Emulation(device="pi"))
    assert await conditions.until_delivered("server", 10**6, 20.0)
    assert conditions.load_factor == pytest.approx(1.0)
