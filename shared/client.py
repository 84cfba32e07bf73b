"""For applications: submit images or tensors to a stream and get exactly one outcome for each."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from shared.bus import topics
from shared.bus.connection import Connection, Properties, unique_client_id
from shared.bus.settings import BusSettings
from shared.messages.base import MessageError
from shared.messages.requests import ACCEPT_PROPERTY, MSGPACK_CONTENT, REQUEST_ID_PROPERTY, Outcome

LOGGER = logging.getLogger(__name__)

_REPEAT_FIRST_S = 3.0
_REPEAT_MOST_S = 30.0


class ClientTimeout(TimeoutError):
    """No outcome in time. The fleet may still be at work on the request; submit it again under the same id to find out.

    Attributes:
        stream: the stream it was submitted to.
        request_id: its id.
    """

    def __init__(self, stream: str, request_id: str, timeout_s: float) -> None:
        self.stream = stream
        self.request_id = request_id
        super().__init__(f"no outcome of request {request_id} on stream {stream} within {timeout_s:g} s")


@dataclass(slots=True)
class _Pending:
    """A request under way: `wake` is set when its outcome is there, or when it should be published again."""

    stream: str
    outcome: Outcome | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Client:
    """An application's way into the fleet; open it with `Client.open`.

    Every request has an id, under which it is published again after a reconnect and whenever its outcome is long in
    coming; its source accepts an id once, and publishes a known outcome again. Outcomes that arrive twice are dropped.

    Example:
        >>> async with Client.open("mqtt://localhost:1883") as client:
        ...     outcome = await client.submit("camera", Path("cat.jpg").read_bytes())
    """

    def __init__(self, connection: Connection, in_flight: int) -> None:
        self._connection = connection
        self._in_flight = in_flight
        self._slots = asyncio.Semaphore(in_flight)
        self._pending: dict[str, _Pending] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, broker: BusSettings | str, *, in_flight: int = 16, connect_timeout_s: float = 10.0
    ) -> AsyncIterator[Self]:
        """Connect to the broker; requests without an outcome are given up at the end of the block.

        Args:
            broker: where it is, as settings or as an address such as `mqtt://localhost:1883`.
            in_flight: requests under way at most; `submit` waits for a free place.
            connect_timeout_s: how long the first connection may take.

        Raises:
            BusError: not connected in time, or refused.
        """
        settings = BusSettings.from_address(broker) if isinstance(broker, str) else broker
        clients: list[Self] = []

        async def resume(_: Connection) -> None:
            for client in clients:
                client._publish_again()

        async with Connection.open(
            settings,
            client_id=unique_client_id("segue-client"),
            on_connected=resume,
            connect_timeout_s=connect_timeout_s,
        ) as connection:
            client = cls(connection, in_flight)
            clients.append(client)
            try:
                async with asyncio.TaskGroup() as group:
                    reader = group.create_task(client._read_outcomes(), name="client outcomes")
                    try:
                        yield client
                    finally:
                        reader.cancel()
            except BaseExceptionGroup as error:
                if len(error.exceptions) == 1:
                    raise error.exceptions[0] from None
                raise

    async def submit(
        self,
        stream: str,
        payload: bytes,
        *,
        timeout_s: float = 30.0,
        whole_outputs: bool = False,
        request_id: str | None = None,
    ) -> Outcome:
        """Submit one request and wait for its outcome: a result, or an error with its cause.

        Args:
            stream: the stream's name.
            payload: the bytes of a JPEG or PNG, or of the input tensor (little-endian, in C order).
            timeout_s: bound on everything, the wait for a free place included.
            whole_outputs: the outcome carries the output tensors, not only the best classes.
            request_id: to ask again for a request that timed out; made if not given.

        Raises:
            ClientTimeout: no outcome in time.
            BusError: the request cannot be published: it is too large, say, or the broker forbids it.
            ValueError: a request of this id is under way in this client.
        """
        identity = request_id or uuid.uuid4().hex
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                return await self._until_outcome(stream, identity, payload, whole_outputs, timeout_s)
        except TimeoutError:
            raise ClientTimeout(stream, identity, timeout_s) from None

    async def submit_many(
        self, stream: str, payloads: Iterable[bytes], *, timeout_s: float = 30.0, whole_outputs: bool = False
    ) -> list[Outcome | ClientTimeout]:
        """Submit requests side by side, as many as may be in flight, and return their outcomes in the same order.

        Args:
            stream: the stream's name.
            payloads: taken one at a time, when there is a free place.
            timeout_s: bound on each request, from when it is taken.
            whole_outputs: the outcomes carry the output tensors.

        Raises:
            BusError: a request cannot be published.
        """
        remaining = enumerate(payloads)
        outcomes: dict[int, Outcome | ClientTimeout] = {}

        async def work() -> None:
            for index, payload in remaining:
                try:
                    outcomes[index] = await self.submit(
                        stream, payload, timeout_s=timeout_s, whole_outputs=whole_outputs
                    )
                except ClientTimeout as error:
                    outcomes[index] = error

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._in_flight):
                    group.create_task(work(), name=f"submit {number}")
        except BaseExceptionGroup as error:
            raise error.exceptions[0] from None
        return [outcomes[index] for index in sorted(outcomes)]

    async def _until_outcome(
        self, stream: str, identity: str, payload: bytes, whole_outputs: bool, timeout_s: float
    ) -> Outcome:
        if identity in self._pending:
            raise ValueError(f"request {identity} is under way already")
        user = {REQUEST_ID_PROPERTY: identity} | ({ACCEPT_PROPERTY: MSGPACK_CONTENT} if whole_outputs else {})
        pending = self._pending[identity] = _Pending(stream)
        pause_s = _REPEAT_FIRST_S
        try:
            await self._connection.subscribe(topics.results(stream), timeout_s=timeout_s)
            while pending.outcome is None:
                pending.wake.clear()
                await self._connection.publish(
                    topics.requests(stream), payload, properties=Properties(user=user), timeout_s=timeout_s
                )
                if pending.outcome is None:
                    await _wait(pending.wake, pause_s)
                    pause_s = min(2 * pause_s, _REPEAT_MOST_S)
            return pending.outcome
        finally:
            del self._pending[identity]

    async def _read_outcomes(self) -> None:
        async for received in self._connection:
            try:
                outcome = Outcome.decode(received.payload)
            except MessageError as error:
                LOGGER.warning("a message on %s is no outcome: %s", received.topic, error)
                continue
            pending = self._pending.get(outcome.request_id)
            if pending is not None and pending.outcome is None and pending.stream == outcome.stream:
                pending.outcome = outcome
                pending.wake.set()

    def _publish_again(self) -> None:
        for pending in self._pending.values():
            pending.wake.set()


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
