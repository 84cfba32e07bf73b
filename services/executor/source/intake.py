"""Intake of a stream's requests from the broker."""

import asyncio
import logging
import re
import uuid
from collections.abc import Callable
from typing import Final, Protocol

from services.executor.outbox import TRACEPARENT_PROPERTY, Outbox
from services.executor.source.source_events import Request
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.bus.errors import BusError
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.requests import ACCEPT_PROPERTY, JSON_CONTENT, MSGPACK_CONTENT, given_request_id

_LOGGER = logging.getLogger(__name__)

# Requests that the broker may deliver before the first of them is acknowledged (MQTT 5 Receive Maximum).
MAX_UNACKNOWLEDGED = 64
# W3C trace context, of this version and of later ones.
_TRACEPARENT: Final = re.compile(r"[0-9a-zA-Z-]{1,256}")


class Submit(Protocol):
    """Takes a request over."""

    async def __call__(
        self, payload: bytes, properties: Properties, acknowledge: Callable[[], None], *, skipped_bytes: int = 0
    ) -> None:
        """Take a request with its properties and acknowledgement; `skipped_bytes` is the size of an unread payload."""
        ...


class RequestIntake:
    """Takes the requests of one stream from the broker while it is enabled.

    The connection has a persistent session and manual acknowledgements. So a request stays with the broker until the
    source has written it to its journal. Requests that are published while the device is off are delivered later.

    An intake that is disabled gives the subscription up: the stream has moved or is withdrawn. One that is paused keeps
    it: the device stops, and the broker stores what is published until it is back.

    `run` is the only task that opens connections; `set_enabled` and `pause` may be called at any time.
    """

    def __init__(
        self,
        stream: str,
        *,
        device: str,
        settings: BusSettings,
        outbox: Outbox,
        submit: Submit,
        max_request_bytes: Callable[[], int] | None = None,
    ) -> None:
        """Create a disabled intake.

        Args:
            stream: name of the stream.
            device: name of this device.
            settings: where the broker is.
            outbox: reports bad messages.
            submit: takes every request.
            max_request_bytes: returns the size beyond which a request is not read; None for no bound.
        """
        self._max_request_bytes = max_request_bytes
        self._is_paused = False
        self._stream = stream
        self._device = device
        self._settings = settings
        self._outbox = outbox
        self._submit = submit
        self._enabled = asyncio.Event()
        self._disabled = asyncio.Event()

    def pause(self) -> None:
        """Take no more requests until the process ends; the broker keeps them for its next start."""
        self._is_paused = True
        self._enabled.clear()
        self._disabled.set()

    def set_enabled(self, enabled: bool) -> None:
        """Start or stop taking requests. Without effect on a paused intake."""
        if self._is_paused:
            return
        (self._enabled if enabled else self._disabled).set()
        (self._disabled if enabled else self._enabled).clear()

    async def run(self) -> None:
        """Take requests until cancelled."""
        while True:
            await self._enabled.wait()
            async with Connection.open(
                self._settings,
                client_id=f"segue-intake-{self._device}-{self._stream}",
                persistent_session=True,
                manual_ack=True,
                receive_maximum=MAX_UNACKNOWLEDGED,
                max_payload_bytes=self._max_request_bytes,
                connect_timeout_s=None,
            ) as connection:
                async with asyncio.TaskGroup() as group:
                    # The reader starts before the subscription is sent. A broker that resumes a session may send its
                    # queued messages, and expect acknowledgements, before it answers the subscription.
                    reader = group.create_task(self._read(connection), name=f"read {self._stream}")
                    await self._subscribe(connection)
                    await self._disabled.wait()
                    reader.cancel()
                if not self._is_paused:
                    await connection.unsubscribe(topics.requests(self._stream))

    async def _subscribe(self, connection: Connection) -> None:
        try:
            await connection.subscribe(topics.requests(self._stream))
            _LOGGER.info("taking requests of stream %s", self._stream)
        except BusError as error:
            # Not fatal: the connection subscribes again after its next reconnect.
            _LOGGER.error("%s", error)

    async def _read(self, connection: Connection) -> None:
        async for received in connection:
            await self._take(received)

    async def _take(self, received: Received) -> None:
        if received.retain:
            # The broker would deliver a retained request after every start of the source, to be computed again.
            received.acknowledge()
            await self._outbox.note_bad_message(received.topic, "a request must not be retained")
            return
        await self._submit(
            bytes(received.payload),
            received.properties,
            received.acknowledge,
            skipped_bytes=received.skipped_bytes,
        )


def request_from_message(payload: bytes, properties: Properties, now_at_s: float, *, skipped_bytes: int = 0) -> Request:
    """Return the request that a payload and its MQTT properties describe.

    Its id is the one given by the sender (`given_request_id`), else a random one. A trace context that is none is left
    out.

    Args:
        payload: the request's bytes.
        properties: of the message.
        now_at_s: wall clock.
        skipped_bytes: size of a payload that was not read.
    """
    traceparent = properties.user.get(TRACEPARENT_PROPERTY, "")
    accept = properties.user.get(ACCEPT_PROPERTY, JSON_CONTENT)
    return Request(
        request_id=given_request_id(properties.user, properties.correlation_data) or uuid.uuid4().hex,
        size_bytes=skipped_bytes or len(payload),
        accepted_at_s=now_at_s,
        accept=accept if accept == MSGPACK_CONTENT else JSON_CONTENT,
        response_topic=properties.response_topic or None,
        correlation_data=properties.correlation_data,
        traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
        lifetime_s=properties.expiry_s,
    )
