import asyncio
from typing import Any

from broker.embedded import EmbeddedBroker
from services.executor.observations import OBSERVATION_INTERVAL_S, ObservationFeed, ObservationThrottle
from services.executor.outbox import Outbox
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.devices import OBSERVATIONS, ComputeObservation, TransferObservation


def computed(start: int = 0) -> ComputeObservation:
    return ComputeObservation(device="me", model="0" * 64, start=start, stop=9, measured_ms=2.0, idle_ms=1.0)


def sent(size_bytes: int = 1000, **changes: Any) -> TransferObservation:
    return TransferObservation(device="me", target="other", size_bytes=size_bytes, elapsed_ms=3.0, **changes)


def test_of_many_alike_a_few_are_worth_a_message() -> None:
    throttle = ObservationThrottle(interval_s=0.5)
    told = [step for step in range(100) if throttle.accept(computed(), step * 0.125)]
    assert told == list(range(0, 100, 4))


def test_at_low_rates_every_one_is() -> None:
    throttle = ObservationThrottle()
    assert all(throttle.accept(computed(), step * 1.01 * OBSERVATION_INTERVAL_S) for step in range(100))


def test_segments_links_and_magnitudes_are_told_apart() -> None:
    throttle = ObservationThrottle()
    assert throttle.accept(computed(0), 0.0)
    assert throttle.accept(computed(3), 0.0)
    assert throttle.accept(sent(1000), 0.0)
    assert throttle.accept(sent(50_000), 0.0)
    assert not throttle.accept(sent(1010), 0.001)


def test_what_is_overdue_is_always_told() -> None:
    throttle = ObservationThrottle()
    assert throttle.accept(sent(), 0.0)
    assert all(throttle.accept(sent(finished=False), 0.0) for _ in range(3))


def test_a_device_with_ever_new_segments_remembers_a_bounded_number() -> None:
    throttle = ObservationThrottle()
    assert all(throttle.accept(computed(start), 0.0) for start in range(1000))
    assert not throttle.accept(computed(999), 0.0)


async def test_the_sources_get_every_observation_and_the_monitor_a_few() -> None:
    seen: list[ComputeObservation | TransferObservation] = []

    async def subscriber(observation: ComputeObservation | TransferObservation) -> None:
        seen.append(observation)

    async with (
        asyncio.timeout(30),
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as ear,
        Connection.open(broker.settings) as control,
    ):
        await ear.subscribe(topics.observations("me"))
        feed = ObservationFeed(Outbox("me", control), ObservationThrottle(interval_s=60.0))
        feed.subscribe(subscriber)
        for start in (0, 0, 0, 3):
            await feed.publish(computed(start))
        published = [OBSERVATIONS.decode((await anext(ear)).payload) for _ in range(2)]
    assert seen == [computed(0), computed(0), computed(0), computed(3)]
    assert published == [computed(0), computed(3)]
