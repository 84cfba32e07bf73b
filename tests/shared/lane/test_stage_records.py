"""Stage records against the traces that they stand for."""

import math
import struct

import pytest

from shared.lane.stage_records import RECORD_BYTES, StageRecord, last_record, records_of, united, unpack_records
from shared.messages.requests import StageTrace
from shared.transport_mode import Carrier
from tests.support.short_stages import STAGES

TRACE = (
    StageTrace(
        device="pi",
        start=0,
        stop=1,
        received_at_s=100.0,
        queue_ms=0.25,
        compute_ms=1.5,
        sent_at_s=100.5,
        output_bytes=4096,
        transport=Carrier.DIRECT,
    ),
    StageTrace(device="server", start=1, stop=2, received_at_s=101.0, queue_ms=0.5, compute_ms=2.0),
)


def test_a_trace_is_the_same_after_a_round_trip() -> None:
    packed = records_of(TRACE, STAGES)
    assert packed is not None
    assert len(packed) == 2 * RECORD_BYTES
    assert tuple(StageTrace(**record.document(STAGES)) for record in unpack_records(packed)) == TRACE
    assert last_record(packed) == unpack_records(packed)[-1]
    assert last_record(b"") is None


@pytest.mark.parametrize("change", [{"codec": "fp16"}, {"device": "other"}, {"start": 1}, {"stop": 3}])
def test_a_trace_that_a_record_cannot_hold_stays_a_trace(change: dict[str, object]) -> None:
    assert records_of((TRACE[0].model_copy(update=change), TRACE[1]), STAGES) is None
    assert records_of(TRACE, STAGES[:1]) is None


def test_records_that_come_on_several_ways_count_once_and_are_in_order() -> None:
    first, second, third = (StageRecord(stage, 100.0 + stage, 0.0, 1.0).pack() for stage in range(3))
    merged = united([second + third, first + second, b""])
    assert [record.stage for record in unpack_records(merged)] == [0, 1, 2]


@pytest.mark.parametrize("damaged", [bytes(RECORD_BYTES - 1), struct.pack(">HB29x", 0, 9)])
def test_a_damaged_record_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="record"):
        unpack_records(damaged)


def test_a_record_of_no_stage_has_no_trace() -> None:
    with pytest.raises(ValueError, match="stage 4 of 4"):
        StageRecord(4, 0.0, 0.0, 0.0).document(STAGES)


def test_large_values_are_bounded() -> None:
    packed = StageRecord(0, 1.0, 0.0, 0.0, sent_at_s=None, output_bytes=2**40).pack()
    assert unpack_records(packed)[0].output_bytes == 2**32 - 1
    assert unpack_records(packed)[0].sent_at_s is None
    assert math.isnan(struct.unpack_from(">d", packed, 16)[0])
