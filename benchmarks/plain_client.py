"""An application that knows MQTT and JSON, and nothing of Segue's library: paho-mqtt on its own thread."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from services.cli.testbed.run_record import RequestRecord
from shared.bus.settings import BusSettings
from shared.messages.requests import Outcome

# Returns whether a result differs from the expected one.
Differs = Callable[[bytes, Outcome], bool]

_SESSION_S = 3600
_KEEPALIVE_S = 10
# A broker that is killed may lose what it has acknowledged, so a request is published again after this time.
_REPEAT_S = 20.0


class PlainClient:
    """Publishes photographs with QoS 1 and waits for their results on the stream's topic.

    `records` grows by one record per request, in the order of the outcomes. `contradictions` holds the first outcome of
    a request and a later one that differs from it.
    """

    def __init__(self, stream: str, root: str, timeout_s: float, differs: Differs) -> None:
        self.records: list[RequestRecord] = []
        self.repeats = 0
        self.contradictions: list[tuple[Outcome, Outcome]] = []
        self._requests = f"{root}/streams/{stream}/requests"
        self._results = f"{root}/streams/{stream}/results"
        self._timeout_s = timeout_s
        self._differs = differs
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._firsts: dict[str, Outcome] = {}
        self._stopped = False
        self._client = PahoClient(
            CallbackAPIVersion.VERSION2, f"plain-{uuid.uuid4().hex[:8]}", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = lambda client, *_: client.subscribe(self._results, qos=1)
        self._client.on_message = self._take

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: BusSettings, stream: str, timeout_s: float, differs: Differs) -> AsyncIterator[Self]:
        """Connect for the time of the block.

        Args:
            settings: where the broker is.
            stream: of the requests.
            timeout_s: time after which a request without an outcome counts as lost.
            differs: compares a result with the expected one; called off the event loop.
        """
        client = cls(stream, settings.root, timeout_s, differs)
        properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_S
        client._client.connect_async(
            settings.host, settings.port, _KEEPALIVE_S, clean_start=False, properties=properties
        )
        client._client.loop_start()
        try:
            yield client
        finally:
            client._client.disconnect()
            await asyncio.to_thread(client._client.loop_stop)

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopped = True

    async def run(self, payloads: Sequence[bytes], in_flight: int) -> None:
        """Submit payloads in turn until stopped; return when the last request has its outcome."""
        remaining = itertools.cycle(payloads)
        async with asyncio.TaskGroup() as group:
            for number in range(in_flight):
                group.create_task(self._work(remaining), name=f"plain {number}")

    async def _work(self, payloads: "itertools.cycle[bytes]") -> None:
        while not self._stopped:
            payload, request_id = next(payloads), uuid.uuid4().hex
            submitted_at_s = time.time()
            outcome = await self._submit(request_id, payload)
            finished_at_s = time.time()
            differs = outcome is not None and await asyncio.to_thread(self._differs, payload, outcome)
            self.records.append(RequestRecord(request_id, submitted_at_s, finished_at_s, outcome, differs))

    async def _submit(self, request_id: str, payload: bytes) -> Outcome | None:
        properties = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = [("request_id", request_id)]
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting[request_id] = answer
        end_s = time.monotonic() + self._timeout_s
        try:
            while time.monotonic() < end_s:
                self._client.publish(self._requests, payload, qos=1, properties=properties)
                done, _ = await asyncio.wait({answer}, timeout=_REPEAT_S)
                if done:
                    return answer.result()
                self.repeats += 1
            return None
        finally:
            del self._waiting[request_id]

    def _take(self, _client: PahoClient, _data: Any, message: MQTTMessage) -> None:
        # Runs on paho's thread.
        try:
            document = json.loads(message.payload)
        except ValueError:
            # A result of the other client, in msgpack.
            return
        self._loop.call_soon_threadsafe(self._answer, Outcome.model_validate(document))

    def _answer(self, outcome: Outcome) -> None:
        first = self._firsts.setdefault(outcome.request_id, outcome)
        if first != outcome:
            self.contradictions.append((first, outcome))
        answer = self._waiting.get(outcome.request_id)
        if answer is not None and not answer.done():
            answer.set_result(outcome)
