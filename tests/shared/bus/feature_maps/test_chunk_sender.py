"""Messages in chunks through a broker that accepts small packets only."""

import pytest

from broker.mosquitto import MosquittoBroker
from shared.bus.chunks import Reassembler
from shared.bus.connection import Connection
from shared.bus.errors import MessageTooLarge
from shared.bus.feature_maps.chunk_sender import ChunkSender
from shared.bus.mqtt.properties import Properties

PROPERTIES = Properties(content_type="application/vnd.segue.chunk", user={"request_id": "r" * 128})


async def test_chunks_with_properties_fit_into_the_packets_of_the_broker() -> None:
    message = bytes(range(256)) * 100
    async with (
        MosquittoBroker(max_packet_bytes=2000) as broker,
        Connection.open(broker.settings) as sender,
        Connection.open(broker.settings) as receiver,
    ):
        await receiver.subscribe("t")
        await ChunkSender(sender, "").send("t", [message[:5], message[5:]], transfer_id=b"id", properties=PROPERTIES)
        reassembler, complete, sizes = Reassembler(), None, []
        while complete is None:
            received = await anext(receiver)
            assert received.properties == PROPERTIES
            sizes.append(len(received.payload))
            complete = reassembler.accept(received.payload, 0.0)
        assert (complete.transfer_id, bytes(complete.buffer)) == (b"id", message)
        # As large as the broker allows: the packet's own bytes are the topic, the properties and a few more.
        assert 1600 < max(sizes) < 2000
        with pytest.raises(MessageTooLarge, match=r"20000000 bytes, the broker accepts at most 8192 chunks of 1\d\d\d"):
            await ChunkSender(sender, "").send("t", [bytes(20_000_000)], properties=PROPERTIES)
