"""Tables between their sender and their receiver."""

from typing import Any

import numpy as np
import pytest

from shared.bus.errors import DecodeError
from shared.lane.lane_messages import MAX_TABLE_BYTES, TableMessage, decode_lane_message, encode_table
from shared.lane.lane_tables import MAX_RECEIVED, MAX_SENT, REPEAT_S, ReceivedTables, SentTables, tensors_of
from shared.messages.base import MessageError
from shared.messages.requests import StageTrace, TensorHeader
from shared.messages.streams import PlanStage
from shared.transport_mode import Carrier
from tests.support.short_stages import STAGES, header

TENSORS = tensors_of({"x": np.zeros((1, 2, 3, 4), np.float32)})


def message_of(data: bytes) -> TableMessage:
    decoded = decode_lane_message(memoryview(data))
    assert isinstance(decoded, TableMessage)
    return decoded


def test_a_receiver_knows_from_a_table_what_is_common_to_its_messages() -> None:
    trace = (StageTrace(device="pi", start=0, stop=1, received_at_s=1.0),)
    table = SentTables("pi", 41).table(header(trace=trace, correlation_data=b"c"), TENSORS)
    assert table.number == 42
    received = ReceivedTables("server")
    received.learn("pi", message_of(table.message))
    found = received.find("pi", 42)
    assert (found.header.stream, found.header.epoch, found.header.stages) == ("s", 3, STAGES)
    assert (found.header.sender, found.header.trace, found.header.correlation_data) == ("pi", (), None)
    assert found.onward is not None
    assert (found.onward.stage, found.onward.stages) == (2, STAGES)
    assert [(each.name, each.spec.shape, each.rows) for each in found.layout.tensors] == [("x", (1, 2, 3, 4), 3)]
    with pytest.raises(DecodeError, match="unknown table"):
        received.find("another", 42)


def test_requests_of_an_epoch_share_a_table_and_other_stages_epochs_and_shapes_do_not() -> None:
    tables = SentTables("pi", 0)
    first = tables.table(header(), TENSORS)
    assert tables.table(header(request_id="r2", attempt=4), TENSORS) is first
    others: list[dict[str, Any]] = [{"epoch": 4}, {"stage": 3}, {"stream": "t"}, {"stages": (*STAGES,)[:2]}]
    for changes in others:
        assert tables.table(header(**changes), TENSORS) is not first
    assert tables.table(header(), tensors_of({"x": np.zeros((1, 2, 3, 5), np.float32)})) is not first


def test_a_table_goes_again_after_a_time_a_restart_another_carrier_or_a_loss() -> None:
    tables = SentTables("pi", 0)
    table = tables.table(header(), TENSORS)
    assert table.is_due("boot", Carrier.DIRECT, 0.0)
    table.sent("boot", Carrier.DIRECT, 0.0)
    assert not table.is_due("boot", Carrier.DIRECT, REPEAT_S - 0.1)
    assert table.is_due("boot", Carrier.DIRECT, REPEAT_S)
    assert table.is_due("later", Carrier.DIRECT, 0.1)
    assert table.is_due("boot", Carrier.MQTT, 0.1)
    tables.forget("another")
    assert not table.is_due("boot", Carrier.DIRECT, 0.1)
    tables.forget("server")
    assert table.is_due("boot", Carrier.DIRECT, 0.1)


def test_tables_are_bounded_at_both_ends() -> None:
    sent, received = SentTables("pi", 0), ReceivedTables("server")
    first = sent.table(header(), TENSORS)
    for epoch in range(MAX_SENT):
        table = sent.table(header(epoch=10 + epoch), TENSORS)
        received.learn("pi", message_of(table.message))
    assert sent.table(header(), TENSORS) is not first
    received.find("pi", table.number)
    with pytest.raises(DecodeError):
        received.find("pi", table.number - MAX_RECEIVED)


def test_large_tables_are_bounded_by_their_bytes() -> None:
    received = ReceivedTables("server")
    names = tuple(TensorHeader(name=f"{k:0>400}", dtype="int8", shape=(1,), size_bytes=0) for k in range(100))
    document = header(tensors=names).encode()
    assert len(document) < MAX_TABLE_BYTES
    for number in range(200):
        received.learn("pi", message_of(encode_table(number, document)))
    received.find("pi", 199)
    with pytest.raises(DecodeError):
        received.find("pi", 0)


def test_a_route_too_long_for_a_table_has_none() -> None:
    stages = tuple(PlanStage(start=k, stop=k + 1, device="d" * 64, codec="c" * 79) for k in range(256))
    tensors = tuple((f"{k:0>500}", "int8", (1,)) for k in range(100))
    with pytest.raises(ValueError, match="a table of"):
        SentTables("pi", 0).table(header(stages=stages), tensors)


@pytest.mark.parametrize(
    "document",
    [
        b"garbage",
        header().encode(),
        header(stage=0).encode(),
        header(stage=2).encode(),
        header(stage=9).encode(),
        header(tensors=(TensorHeader(name="x", dtype="?", shape=(1,), size_bytes=0),)).encode(),
        header(sender="mallory", tensors=(TensorHeader(name="x", dtype="int8", shape=(1,), size_bytes=0),)).encode(),
    ],
)
def test_a_hostile_table_is_refused_and_the_known_one_stays(document: bytes) -> None:
    received = ReceivedTables("server")
    good = SentTables("pi", 0).table(header(), TENSORS)
    received.learn("pi", message_of(good.message))
    with pytest.raises((MessageError, DecodeError)):
        received.learn("pi", message_of(encode_table(good.number, document)))
    assert received.find("pi", good.number).layout.tensors[0].name == "x"
