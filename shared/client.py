"""The Python client for applications: submits requests to streams and returns exactly one outcome for each."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from shared.bus import topics
from shared.bus.chunks import decode_chunk
from shared.bus.connection import Connection, Properties, Received, unique_client_id
from shared.bus.errors import AccessRefused, DecodeError
from shared.bus.settings import BusSettings
from shared.enrolment import settings_from
from shared.large_outcomes import MAX_LARGE_OUTCOME_BYTES, OutcomeAssembler
from shared.messages.base import MessageError
from shared.messages.reject_counter import RejectCounter
from shared.messages.requests import ACCEPT_PROPERTY, MSGPACK_CONTENT, REQUEST_ID_PROPERTY, Outcome
from shared.side_by_side import side_by_side

_LOGGER = logging.getLogger(__name__)

# Pauses before a request without an outcome is published again: doubled from the first to the longest.
_FIRST_PAUSE_S: Final = 3.0
_LONGEST_PAUSE_S: Final = 30.0
# Repetitions of a request after which outputs that were announced, and of which nothing has come, are given up.
_FRUITLESS_REPEATS: Final = 3
_SWEEP_S: Final = 1.0


class ClientTimeout(TimeoutError):
    """There was no outcome in time. The fleet may still work on the request.

    Submit it again under the same `request_id` to get its outcome: it is not computed twice.

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
    """A request without an outcome.

    Attributes:
        stream: its stream.
        outcome: the outcome, when it has come.
        wake: set when the outcome has come, or to publish the request again.
        whole_outputs: whether outputs are awaited.
        announced: an outcome whose outputs are sent apart from it, until they have come.
        chunks: number of chunks of its outputs that have come.
    """

    stream: str
    outcome: Outcome | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    whole_outputs: bool = False
    announced: Outcome | None = None
    chunks: int = 0

    def finish(self, outcome: Outcome) -> None:
        """Take the outcome, unless there is one."""
        if self.outcome is None:
            self.outcome = outcome
            self.wake.set()

    def finish_without_outputs(self, outcome: Outcome, reason: str) -> None:
        """Take an outcome whose outputs do not come."""
        note = f"its outputs are left out: {reason}"
        self.finish(outcome.model_copy(update={"transfer": None, "error": note}))


class Client:
    """Submits requests to the streams of a running fleet. Open it with `Client.open`.

    Requests are safe to repeat. Each has an id, under which the client publishes it again after a reconnect and
    whenever its outcome is overdue. The source accepts an id once, and publishes a known outcome again. The client
    drops outcomes that arrive twice.

    A client belongs to the event loop that opened it. Any number of its tasks may submit at the same time.

    Example:
        Submit one photograph, then several side by side::

            import asyncio

            from segue import Client, ClientTimeout


            async def main(photographs: list[bytes]) -> None:
                async with Client.open("mqtt://localhost:1883") as client:
                    outcome = await client.submit("camera", photographs[0], timeout_s=10.0)
                    print(outcome.status, [(score.label, score.score) for score in outcome.top])
                    for result in await client.submit_many("camera", photographs):
                        print("late" if isinstance(result, ClientTimeout) else result.status)
    """

    def __init__(
        self, connection: Connection, in_flight: int, pending: dict[str, _Pending], max_outputs_bytes: int
    ) -> None:
        self._connection = connection
        self._max_outputs_bytes = max_outputs_bytes
        # Room for two: one that ends while another begins.
        self._assembler = OutcomeAssembler(2 * max_outputs_bytes)
        self._rejects = RejectCounter()
        self._in_flight = in_flight
        self._slots = asyncio.Semaphore(in_flight)
        self._pending = pending

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        broker: BusSettings | str,
        *,
        in_flight: int = 16,
        connect_timeout_s: float = 10.0,
        max_outputs_bytes: int = MAX_LARGE_OUTCOME_BYTES,
    ) -> AsyncIterator[Self]:
        """Connect to the broker. Requests without an outcome are given up at the end of the block.

        Args:
            broker: settings, an address such as `mqtt://localhost:1883` or `mqtts://user:password@host?ca=FILE`, or the
                file of an account that `segue device join` wrote.
            in_flight: largest number of requests without an outcome. Beyond it `submit` waits.
            connect_timeout_s: bound on the first connection. Later ones are made again without a bound.
            max_outputs_bytes: largest outputs of one result that are taken. Outputs that arrive at the same time take
                twice as much memory at most.

        Yields:
            The client, connected.

        Raises:
            BrokerUnreachable: not connected in time.
            AccessRefused: the broker refuses this client.
            SettingsError: the address is malformed, or the file cannot be read.
        """
        settings = settings_from(broker) if isinstance(broker, str) else broker
        pending: dict[str, _Pending] = {}

        async def publish_again(_: Connection) -> None:
            for request in pending.values():
                request.wake.set()

        async with Connection.open(
            settings,
            client_id=unique_client_id("segue-client"),
            on_connected=publish_again,
            connect_timeout_s=connect_timeout_s,
        ) as connection:
            client = cls(connection, in_flight, pending, max_outputs_bytes)
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
            timeout_s: bound on the whole call, the wait below `in_flight` included.
            whole_outputs: return the output tensors, not only the best five classes. Outputs of more than 256 MiB,
                or beyond what the broker can carry, are left out, and `Outcome.error` says why.
            request_id: id of an earlier request, to get its outcome. None for a new id.

        Returns:
            The outcome. A failed request is an outcome too: see its `status`, `cause` and `error`.

        Raises:
            ClientTimeout: no outcome in time.
            PublishFailed: the request is too large, or the broker forbids it.
            AccessRefused: the broker forbids the subscription to the stream's results.
            ValueError: this client already waits for a request of this id.
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
        """Submit requests side by side, up to `in_flight` at a time.

        Args:
            stream: the stream's name.
            payloads: as for `submit`; iterated lazily, as earlier requests get their outcome.
            timeout_s: bound on each request, from when its payload is taken.
            whole_outputs: return the output tensors, not only the best five classes.

        Returns:
            Per payload, in order, the outcome, or the error of a request that had none in time.

        Raises:
            PublishFailed: a request is too large, or the broker forbids it.
            AccessRefused: the broker forbids the subscription to the stream's results.
        """

        async def submit(payload: bytes) -> Outcome | ClientTimeout:
            try:
                return await self.submit(stream, payload, timeout_s=timeout_s, whole_outputs=whole_outputs)
            except ClientTimeout as error:
                return error

        return await side_by_side(payloads, submit, workers=self._in_flight)

    async def _until_outcome(
        self, stream: str, identity: str, payload: bytes, whole_outputs: bool, timeout_s: float
    ) -> Outcome:
        if identity in self._pending:
            raise ValueError(f"request {identity} is under way already")
        user = {REQUEST_ID_PROPERTY: identity} | ({ACCEPT_PROPERTY: MSGPACK_CONTENT} if whole_outputs else {})
        # In `_pending` before the first publication: the outcome may come while `publish` still waits for PUBACK.
        pending = self._pending[identity] = _Pending(stream, whole_outputs=whole_outputs)
        pause_s, fruitless = _FIRST_PAUSE_S, 0
        try:
            # Before the request: the outcome of a fast fleet would come too early otherwise.
            await self._connection.subscribe(topics.results(stream), timeout_s=timeout_s)
            if whole_outputs:
                await self._subscribe_to_outputs(stream, timeout_s)
            while pending.outcome is None:
                # Cleared before publishing: a wake-up during the publication must not be lost.
                pending.wake.clear()
                await self._connection.publish(
                    topics.requests(stream), payload, properties=Properties(user=user), timeout_s=timeout_s
                )
                if pending.outcome is None:
                    await _wait(pending, pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                if pending.announced is not None and not pending.chunks:
                    fruitless += 1
                    if fruitless == _FRUITLESS_REPEATS:
                        reason = f"nothing arrives on {self._connection.settings.root}/{topics.outputs(stream)}"
                        pending.finish_without_outputs(pending.announced, f"{reason}: may this account read it?")
            return pending.outcome
        finally:
            del self._pending[identity]

    async def _subscribe_to_outputs(self, stream: str, timeout_s: float) -> None:
        try:
            await self._connection.subscribe(topics.outputs(stream), timeout_s=timeout_s)
        except AccessRefused as error:
            # Most outputs come in the result. `_until_outcome` says so where they do not.
            _LOGGER.warning("%s", error)

    async def _read_outcomes(self) -> None:
        while True:
            try:
                # Transfers that have ended are given up also while nothing arrives.
                async with asyncio.timeout(_SWEEP_S):
                    received = await anext(self._connection)
            except TimeoutError:
                self._assembler.expire(time.monotonic())
                continue
            try:
                self._take(received)
            except (MessageError, DecodeError) as error:
                if self._rejects.add(received.topic, str(error)):
                    _LOGGER.warning("dropped a message on %s that is no outcome: %s", received.topic, error)

    def _take(self, received: Received) -> None:
        _, stream, kind = received.topic.split("/")
        if kind == "outputs":
            self._take_chunk(received, stream)
            return
        outcome = Outcome.decode(received.payload)
        pending = self._pending.get(outcome.request_id)
        if pending is None or pending.stream != outcome.stream:
            return
        if outcome.transfer is None or not pending.whole_outputs:
            pending.finish(outcome)
        elif outcome.transfer.size_bytes > self._max_outputs_bytes:
            size_bytes = outcome.transfer.size_bytes
            pending.finish_without_outputs(outcome, f"{size_bytes} bytes, this client takes {self._max_outputs_bytes}")
        else:
            pending.announced = outcome

    def _take_chunk(self, received: Received, stream: str) -> None:
        request_id = received.user.get(REQUEST_ID_PROPERTY, "")
        pending = self._pending.get(request_id)
        if pending is None or pending.stream != stream or pending.outcome is not None:
            return
        if decode_chunk(received.payload).total_bytes > self._max_outputs_bytes:
            # The outcome that follows says so.
            return
        pending.chunks += 1
        assembled = self._assembler.add(received.payload, stream, request_id, time.monotonic())
        if assembled is not None:
            pending.finish(assembled.whole())


async def _wait(pending: _Pending, pause_s: float) -> None:
    """Wait until a request is to be published again or has its outcome; as long as its outputs arrive, go on."""
    seen = -1
    while seen != pending.chunks:
        seen = pending.chunks
        try:
            async with asyncio.timeout(pause_s):
                await pending.wake.wait()
                return
        except TimeoutError:
            continue
