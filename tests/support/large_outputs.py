"""Parts of an executor that send large outputs, for tests of its other parts."""

from services.executor.outbox import Outbox
from services.executor.outcome_delivery import OutcomeDelivery
from services.executor.output_sender import OutputSender
from shared.bus.connection import Connection
from shared.bus.feature_maps.chunk_sender import ChunkSender
from shared.large_outcomes import MAX_LARGE_OUTCOME_BYTES, OUTPUT_CHUNK_BYTES


def largest_result() -> int:
    """Return the size of the largest result, as if there were memory for it."""
    return MAX_LARGE_OUTCOME_BYTES


def output_sender(connection: Connection) -> OutputSender:
    """Return a sender of large outputs on a connection."""
    return OutputSender(ChunkSender(connection, "", OUTPUT_CHUNK_BYTES))


def outcome_delivery(outbox: Outbox) -> OutcomeDelivery:
    """Return a delivery whose large outputs go the way of its messages."""
    return OutcomeDelivery(outbox, output_sender(outbox.connection), largest_result)
