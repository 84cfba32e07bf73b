"""Messages whose payload is too large to be kept, on a real broker."""

import pytest

from broker.process import BrokerProcess
from shared.bus.connection import Connection, Properties
from shared.bus.receive_queue import Received

LIMIT_BYTES = 2 * 1024 * 1024


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_payload_beyond_the_bound_is_not_kept_and_the_connection_goes_on(
    broker: BrokerProcess, qos: int
) -> None:
    properties = Properties(correlation_data=b"c", user={"request_id": "big"})
    async with (
        Connection.open(broker.settings, max_payload_bytes=lambda: LIMIT_BYTES) as receiver,
        Connection.open(broker.settings) as sender,
    ):
        await receiver.subscribe("a", qos)
        received: list[Received] = []
        for size_bytes in (5, LIMIT_BYTES, 8 * LIMIT_BYTES, LIMIT_BYTES + 1, 6):
            await sender.publish("a", bytes(size_bytes), qos=1, properties=properties, timeout_s=30)
            received.append(await anext(receiver))
    assert [len(each.payload) for each in received] == [5, LIMIT_BYTES, 0, 0, 6]
    assert [each.skipped_bytes for each in received] == [0, 0, 8 * LIMIT_BYTES, LIMIT_BYTES + 1, 0]
    assert {(each.topic, each.user["request_id"], each.properties.correlation_data) for each in received} == {
        ("a", "big", b"c")
    }


async def test_the_bound_is_asked_for_large_packets_only(broker: BrokerProcess) -> None:
    asked: list[int] = []

    def bound() -> int:
        asked.append(1)
        return LIMIT_BYTES

    async with (
        Connection.open(broker.settings, max_payload_bytes=bound) as receiver,
        Connection.open(broker.settings) as sender,
    ):
        await receiver.subscribe("a")
        for size_bytes in (10, 100_000, 4_000_000):
            await sender.publish("a", bytes(size_bytes))
            await anext(receiver)
    assert asked == [1]
