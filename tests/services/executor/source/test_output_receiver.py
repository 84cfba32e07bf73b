"""Large outputs that arrive at the source of their request, or that it cannot take."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox
from services.executor.source.output_receiver import OutputReceiver
from shared.bus import topics
from shared.bus.chunks import split_message
from shared.bus.connection import Connection
from shared.bus.frame import frame_size_bytes
from shared.bus.mqtt.properties import Properties
from shared.large_outcomes import AssembledOutcome, encode_large_outcome, transfer_id_of
from shared.messages.requests import (
    REQUEST_ID_PROPERTY,
    STREAM_PROPERTY,
    Outcome,
    OutcomeStatus,
    OutputTransfer,
    TensorHeader,
)
from tests.support.task_groups import cancelled_at_the_end

DATA = bytes(range(256)) * 1000
HEADER = TensorHeader(name="y", dtype="uint8", shape=(len(DATA),), size_bytes=len(DATA))


def outcome(request_id: str) -> Outcome:
    return Outcome(request_id=request_id, stream="s", status=OutcomeStatus.OK, attempt=1)


def chunks(request_id: str) -> tuple[OutputTransfer, list[bytes]]:
    frame = encode_large_outcome(outcome(request_id), [(HEADER, DATA)])
    identity = transfer_id_of(outcome(request_id))
    parts = [b"".join(map(bytes, part)) for part in split_message(identity, frame, 50_000)]
    return OutputTransfer(transfer_id=identity.hex(), size_bytes=frame_size_bytes(frame)), parts


@dataclass
class Taker:
    """Plays the sources of a device, which await all requests but one."""

    arriving: list[str] = field(default_factory=list)
    arrived: asyncio.Queue[AssembledOutcome] = field(default_factory=asyncio.Queue)

    def awaits(self, stream: str, request_id: str) -> bool:
        return stream == "s" and request_id != "finished"

    async def outputs_arriving(self, stream: str, request_id: str) -> None:
        self.arriving.append(request_id)

    async def outputs_arrived(self, assembled: AssembledOutcome) -> None:
        await self.arrived.put(assembled)


@dataclass
class Bench:
    receiver: OutputReceiver
    taker: Taker
    sender: Connection
    outbox: Outbox
    limits: deque[int]
    """Free memory at the next questions; afterwards 1 MB."""

    async def send(self, request_id: str, parts: list[bytes]) -> None:
        for part in parts:
            properties = Properties(user={REQUEST_ID_PROPERTY: request_id, STREAM_PROPERTY: "s"})
            await self.sender.publish(topics.outcome_chunks("d"), part, properties=properties)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with (
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as connection,
        Connection.open(broker.settings) as sender,
        asyncio.timeout(60),
        cancelled_at_the_end() as group,
    ):
        outbox = Outbox("d", sender)
        limits: deque[int] = deque()
        receiver = OutputReceiver(connection, outbox, lambda: limits.popleft() if limits else 1_000_000, 1_000_000)
        opened = Bench(receiver, Taker(), sender, outbox, limits)
        group.create_task(opened.receiver.run(opened.taker))
        await connection.subscribe(topics.outcome_chunks("d"))
        yield opened


async def test_outputs_of_awaited_requests_arrive_whole_and_others_take_no_memory() -> None:
    async with bench() as opened:
        transfer, parts = chunks("r")
        await opened.send("finished", chunks("finished")[1])
        await opened.send("r", [b"not a chunk", *parts, parts[0]])
        assembled = await opened.taker.arrived.get()
        assert (assembled.header.request_id, bytes(assembled.tensors[0])) == ("r", DATA)
        assert opened.taker.arriving[0] == "r"
        assert set(opened.taker.arriving) == {"r"}
        assert opened.outbox.bad_messages == 1
        assert opened.receiver.obstacle(transfer) == ""


async def test_a_result_larger_than_the_free_memory_is_refused_for_good() -> None:
    async with bench() as opened:
        refused, parts = chunks("large")
        text = f"{refused.size_bytes} bytes, the source has memory for {refused.size_bytes - 1}"
        opened.limits.extend([refused.size_bytes - 1] * 2)
        assert opened.receiver.obstacle(refused) == text
        # The first chunk finds too little memory. For the others it would be enough, but that one is missing.
        await opened.send("large", parts)
        await opened.send("r", chunks("r")[1])
        assert (await opened.taker.arrived.get()).header.request_id == "r"
        assert opened.receiver.obstacle(refused) == text
        never_seen = OutputTransfer(transfer_id="00", size_bytes=refused.size_bytes)
        assert opened.receiver.obstacle(never_seen) == ""
