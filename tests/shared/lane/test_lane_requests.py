"""Facts of a request: made from a header and turned back into the same one."""

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from shared.bus.errors import DecodeError
from shared.lane.lane_messages import MAX_CONTEXT_BYTES
from shared.lane.lane_requests import facts_of, header_of
from shared.lane.stage_records import StageRecord
from shared.messages.base import MessageError
from shared.messages.requests import MSGPACK_CONTENT, FeatureMapHeader, StageTrace
from shared.transport_mode import Carrier
from tests.support.short_stages import FACTS, header

SENT = StageTrace(
    device="pi", start=0, stop=1, received_at_s=100.0, sent_at_s=101.5, output_bytes=8, transport=Carrier.DIRECT
)


def returned(original: FeatureMapHeader) -> FeatureMapHeader:
    found = facts_of(original)
    assert found is not None
    facts, records = found
    # A table holds the header of another request of the stream.
    table = header(request_id="other", attempt=9, accept="text/plain", response_topic="x", traceparent="y")
    return header_of(table, facts, records, 8.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trace": (SENT,)},
        {"trace": (SENT.model_copy(update={"codec": "fp16"}),)},
        {"deadline_at_s": 200.0, "accepted_s": None},
        {
            "accept": MSGPACK_CONTENT,
            "response_topic": "segue/replies/a",
            "correlation_data": b"\x00c",
            "traceparent": "t",
        },
    ],
)
def test_a_header_comes_back_as_it_was(changes: dict[str, Any]) -> None:
    original = header(**changes)
    assert returned(original) == original


def test_what_most_requests_say_takes_no_context() -> None:
    found = facts_of(header(trace=(SENT,)))
    assert found is not None
    assert found[0].context == b""


def test_a_context_that_is_too_large_does_not_fit() -> None:
    assert facts_of(header(correlation_data=bytes(MAX_CONTEXT_BYTES))) is None


@pytest.mark.parametrize(
    "context",
    [
        b"\xff\xff",
        msgpack.packb([1]),
        msgpack.packb({"stages": []}),
        msgpack.packb({"accept": 5}),
        msgpack.packb({"trace": 5}),
        msgpack.packb({"trace": [5]}),
        msgpack.packb({"trace": [{}] * 1000}),
        msgpack.packb({"correlation_data": bytes(70_000)}),
        msgpack.packb({"accept": "x" * 10_000}),
    ],
)
def test_a_hostile_context_is_refused(context: bytes) -> None:
    with pytest.raises((MessageError, DecodeError)):
        header_of(header(), replace(FACTS, context=context), b"", 8.0)


@pytest.mark.parametrize(
    ("facts", "records"),
    [
        (replace(FACTS, request_id="../x"), b""),
        (replace(FACTS, accepted_at_s=-1.0), b""),
        (replace(FACTS, accepted_s=1e12), b""),
        (FACTS, StageRecord(4, 0.0, 0.0, 0.0).pack()),
        (FACTS, StageRecord(0, -5.0, 0.0, 0.0).pack()),
        (FACTS, StageRecord(0, 1.0, float("nan"), 0.0).pack()),
        (FACTS, b"\xff" * 32),
    ],
)
def test_hostile_facts_are_refused_where_the_outcome_is_made(facts: Any, records: bytes) -> None:
    with pytest.raises(MessageError):
        header_of(header(), facts, records, 8.0)


def test_every_field_of_a_header_is_common_to_an_epoch_or_stated_by_each_message() -> None:
    common = {
        *("schema_version", "transfer_id", "sender", "stream", "model", "epoch", "stages", "stage", "tile", "tensors"),
        *("source", "queue", "transport", "outcome_to_source"),
    }
    stated = {
        *("request_id", "attempt", "input_bytes", "accepted_at_s", "dispatched_at_s", "deadline_at_s", "accepted_s"),
        *("accept", "response_topic", "correlation_data", "traceparent", "trace", "sent_s"),
    }
    assert FeatureMapHeader.model_fields.keys() == common | stated
