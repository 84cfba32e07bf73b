"""Way of an attempt's outcome from the device where the attempt ends to the source of its request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.executor.outbox import Outbox, Publication, outcome_properties, outcome_publications
from services.executor.results import encode_outcome, without_outputs
from shared.bus import topics
from shared.messages.requests import FeatureMapHeader, Outcome

# Takes an outcome, its bytes and their content type.
TakeOutcome = Callable[[Outcome, bytes, str], Awaitable[None]]


@dataclass(slots=True)
class OutcomeDelivery:
    """Hands outcomes to the sources of this device, and sends those of other sources to their device.

    Only the source publishes the outcome of a request. Devices where attempts end cannot know whether another attempt
    has ended before, or whether the source has given the request up.

    Attributes:
        outbox: outgoing messages of this device.
    """

    outbox: Outbox
    _take: TakeOutcome | None = field(default=None, init=False)

    def subscribe(self, take: TakeOutcome) -> None:
        """Hand outcomes of this device's own requests to `take`."""
        self._take = take

    async def deliver(self, header: FeatureMapHeader, outcome: Outcome) -> None:
        """Bring an outcome to the source that the header of its attempt names."""
        payload, content_type = encode_outcome(outcome, header.accept)
        properties = outcome_properties(header.request_id, content_type, header.correlation_data, header.traceparent)
        publications = outcome_publications(self.outbox, header.stream, payload, properties, header.response_topic)
        to_source = Publication(topics.outcomes(header.source), payload, properties)
        limit_bytes = min(map(self.outbox.payload_limit_bytes, (to_source, *publications)))
        if len(payload) > limit_bytes and outcome.outputs:
            # The broker would refuse the outcome, and every further attempt of the request would end the same way.
            await self.deliver(header, without_outputs(outcome, len(payload), limit_bytes))
        elif self._take is not None and header.source == self.outbox.device:
            await self._take(outcome, payload, content_type)
        elif header.outcome_to_source:
            await self.outbox.put(to_source)
        else:
            # A source of an earlier release does not publish it.
            for publication in publications:
                await self.outbox.put(publication)
