"""Every message round-trips; every other payload is one named error."""

import json
import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.asyncapi import message_classes
from shared.messages.base import MAX_MESSAGE_BYTES, Message, MessageError
from shared.messages.control import COMMANDS, REPORTS, Ready
from shared.messages.devices import OBSERVATIONS, Links, Presence, State, Telemetry
from shared.messages.events import Event
from shared.messages.requests import Outcome, OutcomeStatus, OutputTensor
from shared.messages.streams import StreamUsage
from tests.support.message_strategies import messages

CLASSES = [kind for kind in message_classes() if kind.TOPIC is not None]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type[Message]) -> None:
    @settings(max_examples=25)
    @given(messages(kind))
    def check(message: Message) -> None:
        assert kind.decode(message.encode()) == message
        assert kind.decode(message.encode_json()) == message

    check()


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(CLASSES))
def test_arbitrary_bytes_decode_or_raise_one_named_error(payload: bytes, kind: type[Message]) -> None:
    try:
        message = kind.decode(payload)
    except MessageError as error:
        fault = str(error)
    else:
        assert isinstance(message, kind)
        return
    assert fault


@settings(max_examples=200)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text(max_size=8)
        | st.binary(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    )
)
def test_arbitrary_documents_decode_or_raise_one_named_error(document: object) -> None:
    for decode in (COMMANDS.decode, REPORTS.decode, OBSERVATIONS.decode, Outcome.decode):
        fault = ""
        try:
            decode(msgpack.packb(document))
        except MessageError as error:
            fault = str(error)
        assert "\n" not in fault


def test_readers_ignore_unknown_fields_and_fill_in_new_ones() -> None:
    older = msgpack.packb({"device": "pi", "state": "online", "from_the_future": {"x": 1}})
    assert Presence.decode(older) == Presence(device="pi", state=State.ONLINE)


def test_a_union_is_decoded_by_its_kind() -> None:
    ready = Ready(device="pi", stream="camera", epoch=3)
    assert REPORTS.decode(ready.encode()) == ready
    with pytest.raises(MessageError, match="kind"):
        REPORTS.decode(msgpack.packb({"device": "pi"}))


def test_the_error_says_what_is_wrong_and_where() -> None:
    payload = msgpack.packb(
        {"device": "pi", "sent_at_s": 1.0, "links": [{"target": "server", "bandwidth_mbps": -1, "latency_ms": 1}]}
    )
    with pytest.raises(MessageError, match=r"links\.0\.bandwidth_mbps: .*greater than or equal to 0"):
        Links.decode(payload)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_are_finite(number: float) -> None:
    with pytest.raises(MessageError, match="finite"):
        Telemetry.decode(msgpack.packb({"device": "pi", "sent_at_s": 1.0, "load_factor": number}))


def test_a_control_message_is_bounded() -> None:
    with pytest.raises(MessageError, match="more than a control message"):
        Presence.decode(bytes(MAX_MESSAGE_BYTES + 1))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MessageError):
        Presence.decode(b"\x81\xa1a" * 5000 + b"\xc0")


def test_tensors_survive_json_as_base64() -> None:
    tensor = OutputTensor(name="y", dtype="float32", shape=(1,), data=b"\x00\xff\x80\x3f")
    outcome = Outcome(request_id="r", stream="s", status=OutcomeStatus.OK, outputs=(tensor,))
    assert b'"data":"AP-APw=="' in outcome.encode_json()
    assert Outcome.decode(outcome.encode_json()) == outcome


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 5000])
def test_integers_that_msgpack_cannot_hold_are_refused(number: str) -> None:
    with pytest.raises(MessageError, match=r"input_bytes: |number out of range"):
        StreamUsage.decode(f'{{"stream": "s", "input_bytes": {number}}}'.encode())


def test_one_element_too_many_costs_one_report() -> None:
    bomb = msgpack.packb({"device": "evil", "state": "online", "transports": [None] * 150_000})
    tracemalloc.start()
    started_s = time.process_time()
    with pytest.raises(MessageError, match="transports") as caught:
        Presence.decode(bomb)
    took_s = time.process_time() - started_s
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    # Before the bound: 5 s and some 100 MB. Wide margins, for slow machines.
    assert took_s < 0.5
    assert peak_bytes < 10e6


@pytest.mark.parametrize("nested", [[{}] * 200_000, [[]] * 200_000], ids=["maps", "lists"])
def test_a_message_has_a_bounded_number_of_lists_and_maps(nested: list[object]) -> None:
    document = {"kind": "failure", "at_s": 1.0, "origin": "evil", "text": "x", "data": {"a": nested}}
    for payload in (msgpack.packb(document), json.dumps(document).encode()):
        with pytest.raises(MessageError, match="more than 131072 lists and maps"):
            Event.decode(payload)


@pytest.mark.parametrize("data", [{"a": {b"k": 1}}, {"a": msgpack.ExtType(3, b"")}, {"a": 2**64 - 1}])
def test_details_of_an_event_are_plain_json(data: dict[str, object]) -> None:
    document = {"kind": "failure", "at_s": 1.0, "origin": "evil", "text": "x", "data": data}
    with pytest.raises(MessageError):
        Event.decode(msgpack.packb(document))


def test_details_of_an_event_are_not_deep() -> None:
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    document = {"kind": "failure", "at_s": 1.0, "origin": "evil", "text": "x", "data": {"a": deep}}
    with pytest.raises(MessageError, match="deeper than 16 levels"):
        Event.decode(msgpack.packb(document))


def test_text_for_people_is_one_clean_line_and_text_that_identifies_is_refused() -> None:
    event = {"kind": "failure", "at_s": 1.0, "origin": "pi", "text": "one\ntwo\x1b[31m\u202e" + "x" * 10_000}
    text = Event.decode(msgpack.packb(event)).text
    assert text.startswith("one two [31m x")
    assert text.isprintable()
    assert len(text) == 4096
    with pytest.raises(MessageError, match=r"boot_id: .*control characters"):
        Presence.decode(msgpack.packb({"device": "pi", "state": "online", "boot_id": "a\nb"}))


def test_a_copy_with_surrogates_still_encodes() -> None:
    outcome = Outcome(request_id="r", stream="s", status=OutcomeStatus.ERROR)
    assert Outcome.decode(outcome.model_copy(update={"error": "a\ud800"}).encode()).error == "a?"
