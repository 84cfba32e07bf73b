"""Outputs that cannot be sent, with the reason."""

from pathlib import Path

import numpy as np
import pytest

from broker.mosquitto import MosquittoBroker
from services.executor.output_sender import OutputSender
from shared.bus import topics
from shared.bus.connection import Connection
from shared.large_outcomes import MAX_LARGE_OUTCOME_BYTES, transfer_id_of
from shared.messages.requests import Outcome, OutcomeStatus
from tests.support.large_outputs import output_sender

OUTCOME = Outcome(request_id="r", stream="s", status=OutcomeStatus.OK, attempt=1, completed_at_s=3.0)


async def send(sender: OutputSender, frame: bytes | memoryview) -> Outcome:
    return await sender.send(topics.outputs("s"), OUTCOME, [frame], {"request_id": "r"})


async def test_outputs_beyond_the_chunks_of_a_small_broker_are_left_out_with_the_sizes() -> None:
    async with MosquittoBroker(max_packet_bytes=1000) as broker, Connection.open(broker.settings) as connection:
        outcome = await send(output_sender(connection), bytes(9_000_000))
    assert outcome.transfer is None
    assert outcome.error.startswith("outputs are left out: 9000000 bytes, the broker accepts at most 8192 chunks of ")


async def test_outputs_beyond_the_memory_of_receivers_are_left_out_with_the_sizes() -> None:
    async with MosquittoBroker() as broker, Connection.open(broker.settings) as connection:
        # Never written, so that it takes no memory.
        frame = np.empty(MAX_LARGE_OUTCOME_BYTES + 1, np.uint8).data
        outcome = await send(output_sender(connection), frame)
    assert outcome.error == "outputs are left out: 268435457 bytes, at most 268435456 are sent"


@pytest.mark.parametrize(("rule", "error"), [("", True), ("topic write segue/v1/streams/+/outputs\n", False)])
async def test_a_right_that_is_missing_is_named(tmp_path: Path, rule: str, error: bool) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"user d\ntopic write segue/v1/streams/+/results\n{rule}")
    broker = MosquittoBroker(username="d", password="x", acl_file=rules)
    async with broker, Connection.open(broker.settings) as connection:
        outcome = await send(output_sender(connection), bytes(1000))
    missing = "outputs are left out: the broker's access rules deny: write segue/v1/streams/s/outputs"
    assert outcome.error == (missing if error else "")
    assert (outcome.transfer is None) is error
    if outcome.transfer is not None:
        assert (outcome.transfer.transfer_id, outcome.transfer.size_bytes) == (transfer_id_of(OUTCOME).hex(), 1000)
