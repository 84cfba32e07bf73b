"""Way of an attempt's outcome from the device where the attempt ends to the source of its request."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from services.executor.outbox import Outbox, Publication, outcome_properties, outcome_publications
from services.executor.output_sender import OutputSender
from services.executor.results import OutputData, announced, encode_outcome, of_message, too_large, without_outputs
from shared.bus import topics
from shared.bus.errors import BusError
from shared.bus.frame import Buffer, frame_size_bytes
from shared.large_outcomes import LARGE_OUTCOME_CONTENT, encode_large_outcome
from shared.messages.events import EventKind
from shared.messages.requests import (
    MSGPACK_CONTENT,
    REQUEST_ID_PROPERTY,
    STREAM_PROPERTY,
    FeatureMapHeader,
    Outcome,
)

_LOGGER = logging.getLogger(__name__)

# Takes an outcome, its bytes and their content type.
TakeOutcome = Callable[[Outcome, bytes, str], Awaitable[None]]


@dataclass(slots=True)
class OutcomeDelivery:
    """Hands outcomes to the sources of this device, and sends those of other sources to their device.

    Only the source publishes the outcome of a request. Devices where attempts end cannot know whether another attempt
    has ended before, or whether the source has given the request up.

    Attributes:
        outbox: outgoing messages of this device.
        outputs: sends large outputs.
        limit_bytes: returns the size of the largest result for which a source of this device has memory now.
    """

    outbox: Outbox
    outputs: OutputSender
    limit_bytes: Callable[[], int]
    _take: TakeOutcome | None = field(default=None, init=False)

    def subscribe(self, take: TakeOutcome) -> None:
        """Hand outcomes of this device's own requests to `take`."""
        self._take = take

    async def deliver(self, header: FeatureMapHeader, outcome: Outcome, outputs: Sequence[OutputData] = ()) -> None:
        """Bring an outcome to the source that the header of its attempt names.

        Args:
            header: of the attempt.
            outcome: with its outputs if they fit into a message.
            outputs: the outputs of the model.
        """
        payload, content_type = encode_outcome(outcome, header.accept)
        properties = outcome_properties(header.request_id, content_type, header.correlation_data, header.traceparent)
        publications = outcome_publications(self.outbox, header.stream, payload, properties, header.response_topic)
        to_source = Publication(topics.outcomes(header.source), payload, properties)
        limit_bytes = min(map(self.outbox.payload_limit_bytes, (to_source, *publications)))
        if outputs and not outcome.outputs:
            await self._deliver_apart(header, outcome, outputs)
        elif len(payload) > limit_bytes and outcome.outputs:
            # The broker would refuse the outcome, and every further attempt of the request would end the same way.
            if header.accept == MSGPACK_CONTENT:
                await self._deliver_apart(header, outcome, outputs)
            else:
                await self.deliver(header, too_large(outcome, len(payload), limit_bytes))
        elif self._take is not None and header.source == self.outbox.device:
            await self._take(outcome, payload, content_type)
        elif header.outcome_to_source:
            await self.outbox.put(to_source)
        else:
            # A source of an earlier release does not publish it.
            for publication in publications:
                await self.outbox.put(publication)

    async def _deliver_apart(self, header: FeatureMapHeader, outcome: Outcome, outputs: Sequence[OutputData]) -> None:
        """Bring the outputs to the source, and then the outcome."""
        frame = encode_large_outcome(
            outcome, [(output.header, output.data) for output in outputs or of_message(outcome)]
        )
        if self._take is not None and header.source == self.outbox.device:
            await self._hand_over(header, outcome, frame)
            return
        user, topic = {REQUEST_ID_PROPERTY: header.request_id}, topics.outputs(header.stream)
        if header.outcome_to_source:
            user, topic = {**user, STREAM_PROPERTY: header.stream}, topics.outcome_chunks(header.source)
        try:
            sent = await self.outputs.send(topic, outcome, frame, user)
        except BusError as error:
            text = f"the result of request {header.request_id} was not sent: {error}"
            _LOGGER.warning("%s", text)
            await self.outbox.report(EventKind.FAILURE, text, stream=header.stream, device=self.outbox.device)
        else:
            await self.deliver(header, sent if header.outcome_to_source else announced(sent))

    async def _hand_over(self, header: FeatureMapHeader, outcome: Outcome, frame: Sequence[Buffer]) -> None:
        """Hand a large outcome to the source on this device."""
        size_bytes, limit_bytes = frame_size_bytes(frame), self.limit_bytes()
        if size_bytes > limit_bytes:
            await self.deliver(
                header, without_outputs(outcome, f"{size_bytes} bytes, the source has memory for {limit_bytes}")
            )
        elif self._take is not None:
            await self._take(outcome, b"".join(frame), LARGE_OUTCOME_CONTENT)
