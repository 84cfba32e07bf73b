"""Publishes the outcomes of a stream's requests from the journal, with large outputs before them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from services.executor.outbox import Outbox, outcome_properties, outcome_publications
from services.executor.output_sender import OutputSender
from services.executor.results import announced, with_transfer
from services.executor.source.journal import StoredOutcome
from services.executor.source.source_events import Republish
from shared.bus import topics
from shared.bus.errors import BusError, DecodeError
from shared.bus.frame import Buffer
from shared.large_outcomes import LARGE_OUTCOME_CONTENT, decode_large_outcome, transfer_id_of
from shared.messages.base import MessageError
from shared.messages.requests import MSGPACK_CONTENT, REQUEST_ID_PROPERTY, Outcome

_LOGGER = logging.getLogger(__name__)

# Results whose large outputs are being sent; each lies in memory meanwhile.
_MAX_SENDING: Final = 2


@dataclass(slots=True)
class OutcomePublisher:
    """Publishes stored outcomes. Large outputs that find no place wait in the journal; those not sent are due later.

    Attributes:
        stream: name of the stream.
        outbox: publishes messages.
        outputs: sends large outputs.
        group: runs what sends large outputs, so that it delays no events.
        again: reads an outcome that has waited from the journal, and calls `publish` with it.
        published: requests whose outcome the broker has acknowledged, until they are taken.
    """

    stream: str
    outbox: Outbox
    outputs: OutputSender
    group: asyncio.TaskGroup
    again: Callable[[Republish], Coroutine[None, None, None]]
    published: list[str] = field(default_factory=list, init=False)
    # Requests whose large outputs are being sent.
    _sending: set[str] = field(default_factory=set, init=False)
    # Requests whose large outputs wait for a place, in this order.
    _waiting: dict[str, Republish] = field(default_factory=dict, init=False)

    def take_published(self) -> tuple[str, ...]:
        """Return the requests in `published`, and forget them."""
        taken, self.published = self.published, []
        return tuple(taken)

    async def publish(self, command: Republish, stored: StoredOutcome, traceparent: str | None = None) -> None:
        """Publish an outcome that the journal has.

        Args:
            command: the request, and how it is answered.
            stored: its outcome.
            traceparent: W3C trace context of the request.
        """
        if stored.content_type != LARGE_OUTCOME_CONTENT:
            await self._put(command, bytes(stored.payload), stored.content_type, traceparent)
            return
        try:
            plain = decode_large_outcome(stored.payload).without_outputs()
        except (MessageError, DecodeError) as error:
            _LOGGER.error("the outcome of request %s in the journal is damaged: %s", command.request_id, error)
            return
        if not command.with_outputs:
            await self._announce(command, with_transfer(plain, transfer_id_of(plain), len(stored.payload)), traceparent)
        elif command.request_id in self._sending:
            _LOGGER.debug("the outputs of request %s are being sent", command.request_id)
        elif len(self._sending) >= _MAX_SENDING:
            self._waiting.setdefault(command.request_id, command)
        else:
            self._sending.add(command.request_id)
            sending = self._send_outputs(command, plain, stored.payload, traceparent)
            self.group.create_task(sending, name=f"outputs of {command.request_id}")

    async def _send_outputs(self, command: Republish, plain: Outcome, frame: Buffer, traceparent: str | None) -> None:
        user = {REQUEST_ID_PROPERTY: command.request_id}
        try:
            outcome = await self.outputs.send(topics.outputs(self.stream), plain, [frame], user)
            await self._announce(command, outcome, traceparent)
        except BusError as error:
            _LOGGER.warning("the outputs of request %s were not sent: %s", command.request_id, error)
        finally:
            self._sending.discard(command.request_id)
            if self._waiting:
                following = self._waiting.pop(next(iter(self._waiting)))
                self.group.create_task(self.again(following), name=f"outcome of {following.request_id}")

    async def _announce(self, command: Republish, outcome: Outcome, traceparent: str | None) -> None:
        await self._put(command, announced(outcome).encode(), MSGPACK_CONTENT, traceparent)

    async def _put(self, command: Republish, payload: bytes, content_type: str, traceparent: str | None) -> None:
        properties = outcome_properties(command.request_id, content_type, command.correlation_data, traceparent)
        acknowledged = partial(self._acknowledged, command.request_id)
        for publication in outcome_publications(
            self.outbox, self.stream, payload, properties, command.response_topic, acknowledged
        ):
            await self.outbox.put(publication)

    def _acknowledged(self, request_id: str) -> None:
        self.published.append(request_id)
