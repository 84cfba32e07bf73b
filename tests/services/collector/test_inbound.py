"""Everything decodes to a record or raises MessageError."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.inbound import RequestSeen, RerouteSeen, ingest, topic_kind
from shared.bus import topics
from shared.bus.mqtt.properties import Properties
from shared.messages.base import MessageError
from shared.messages.devices import Presence, State
from shared.messages.events import Event, EventKind
from tests.support.collector_world import reroute_event, result

TOPICS = [
    topics.results("camera"),
    topics.events(),
    topics.presence("pi"),
    topics.service_presence("planner"),
    topics.telemetry("pi"),
    topics.links("pi"),
    topics.plan("camera"),
    topics.requests("camera"),
    "something/else",
]


@given(st.sampled_from(TOPICS), st.binary(max_size=200))
def test_bytes_become_a_record_or_a_message_error(topic: str, payload: bytes) -> None:
    with contextlib.suppress(MessageError):
        ingest(topic, payload)


@pytest.mark.parametrize("encode", ["encode", "encode_json"])
def test_results_come_as_msgpack_and_as_json(encode: str) -> None:
    outcome = result("r1")
    assert ingest(topics.results("camera"), getattr(outcome, encode)()) == outcome


def test_a_result_on_the_topic_of_another_stream_is_refused() -> None:
    with pytest.raises(MessageError, match="stream 'camera' is not the topic's"):
        ingest(topics.results("other"), result("r1").encode())


def test_a_reroute_is_read_with_what_it_says() -> None:
    seen = ingest(topics.events(), reroute_event(epoch=7).encode())
    assert isinstance(seen, RerouteSeen)
    assert seen.reroute.epoch == 7
    assert seen.reroute.chosen[0].stages[0].device == "pi"


def test_a_reroute_that_says_nothing_is_refused() -> None:
    event = Event(kind=EventKind.REROUTE, at_s=1.0, origin="planner", text="x", data={"epoch": "many"})
    with pytest.raises(MessageError, match=r"data: .*epoch"):
        ingest(topics.events(), event.encode())


def test_cleared_retained_messages() -> None:
    assert ingest(topics.presence("pi"), b"") == Presence(device="pi", state=State.OFFLINE)
    for topic in (topics.links("pi"), topics.plan("camera"), topics.service_presence("planner")):
        assert ingest(topic, b"") is None


@pytest.mark.parametrize(
    ("properties", "request_id"),
    [
        (Properties(user={"request_id": "r1"}, correlation_data=b"other"), "r1"),
        (Properties(user={"request_id": "not an id"}, correlation_data=b"c1"), "c1"),
        (Properties(correlation_data=b"\x00\xff"), "00ff"),
    ],
)
def test_the_id_of_a_request_is_read_as_its_source_reads_it(properties: Properties, request_id: str) -> None:
    assert ingest(topics.requests("camera"), b"\xff\xd8\xff", properties) == RequestSeen("camera", request_id)


def test_a_request_whose_id_its_source_makes_says_nothing() -> None:
    assert ingest(topics.requests("camera"), b"\xff\xd8\xff") is None


def test_labels_of_topics_are_few() -> None:
    assert [topic_kind(topic) for topic in ("streams/a/results", "events", "x/y")] == ["results", "events", "other"]
