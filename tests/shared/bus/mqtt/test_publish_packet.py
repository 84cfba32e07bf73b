"""PUBLISH packets against the library `mqtt5`, which encodes and decodes them independently."""

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.errors import DecodeError
from shared.bus.mqtt.properties import Properties
from shared.bus.mqtt.publish_packet import (
    PublishHead,
    decode_head,
    decode_length,
    encode_head,
    encode_length,
    head_size_bytes,
    overhead_bytes,
    packet_id_of,
    payload_pieces,
    quality_of_service,
)

# MQTT forbids the null character, and the library further code points that MQTT advises against.
TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("äß語"), max_size=20)
PROPERTIES = st.builds(
    Properties,
    correlation_data=st.none() | st.binary(max_size=20),
    response_topic=st.none() | TEXTS.filter(lambda text: text and not set(text) & set("+#")),
    content_type=st.none() | TEXTS,
    user=st.dictionaries(TEXTS, TEXTS, max_size=3),
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
)


def library_packet(head: PublishHead, payload: bytes) -> mqtt5.PublishPacket:
    properties = head.properties
    return mqtt5.PublishPacket(
        head.topic,
        payload,
        qos=mqtt5.QoS.AT_MOST_ONCE if head.packet_id is None else mqtt5.QoS.AT_LEAST_ONCE,
        retain=head.retain,
        packet_id=head.packet_id,
        message_expiry_interval=properties.expiry_s,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation_data,
        user_properties=list(properties.user.items()),
    )


@given(
    st.builds(
        PublishHead, st.sampled_from(["a", "a/b", "ü/1"]), PROPERTIES, st.none() | st.integers(1, 65_535), st.booleans()
    ),
    st.binary(max_size=300),
)
def test_the_library_reads_and_writes_the_same_packets(head: PublishHead, payload: bytes) -> None:
    ours = encode_head(head, len(payload)) + payload
    read, size_bytes = mqtt5.read(memoryview(ours))
    assert isinstance(read, mqtt5.PublishPacket)
    assert size_bytes == len(ours)
    assert (read.topic, read.payload, read.packet_id, read.retain) == (
        head.topic,
        payload,
        head.packet_id,
        head.retain,
    )
    theirs = library_packet(head, payload).write()
    length = decode_length(theirs, 1)
    assert length is not None
    body = memoryview(theirs)[length[1] :]
    head_bytes = head_size_bytes(body, head.packet_id is not None)
    assert head_bytes is not None
    assert decode_head(bytes(body[:head_bytes]), theirs[0]) == head
    assert bytes(body[head_bytes:]) == payload
    assert quality_of_service(theirs[0]) == (0 if head.packet_id is None else 1)
    assert len(ours) - len(payload) <= overhead_bytes(head.topic, head.properties)


@given(st.binary(max_size=60), st.sampled_from([0x30, 0x32]))
def test_arbitrary_bytes_are_a_head_or_the_one_error(body: bytes, first: int) -> None:
    try:
        size_bytes = head_size_bytes(memoryview(body), bool(quality_of_service(first)))
        if size_bytes is None or size_bytes > len(body):
            return
        decode_head(body[:size_bytes], first)
    except DecodeError:
        return


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"\x00\x00\x00", "without a topic"),
        (b"\x00\x01\xff\x00", "not UTF-8"),
        (b"\x00\x01a\x02\x26\x00", "cut off"),
        (b"\x00\x01a\x02\x02\x00", "cut off"),
        (b"\x00\x01a\x02\x0b\x80", "cut off"),
        (b"\x00\x01a\x01\x7f", "unknown property 0x7f"),
        (b"\x00\x01a\x05\x01", "cut off"),
        (b"\x00\x01a\x06\x26\x00\x01\xff\x00\x00", "not UTF-8"),
    ],
)
def test_a_malformed_head_says_what_is_wrong(head: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_head(head, 0x30)


@given(st.integers(0, 268_435_455))
def test_lengths_there_and_back(number: int) -> None:
    encoded = encode_length(number)
    assert decode_length(encoded, 0) == (number, len(encoded))
    assert all(decode_length(encoded[:stop], 0) is None for stop in range(len(encoded)))


def test_what_mqtt_does_not_allow_is_refused() -> None:
    with pytest.raises(ValueError, match="268435456"):
        encode_length(268_435_456)
    with pytest.raises(DecodeError, match="four bytes"):
        decode_length(b"\xff\xff\xff\xff\x7f", 0)
    with pytest.raises(ValueError, match="65535"):
        encode_head(PublishHead("a" * 65_536, Properties(), None, retain=False), 0)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0b"])
def test_what_is_no_topic_is_refused_before_the_broker_ends_the_connection(topic: str) -> None:
    with pytest.raises(ValueError, match="no topic"):
        encode_head(PublishHead(topic, Properties(), None, retain=False), 0)


@pytest.mark.parametrize(("body", "packet_id"), [(b"\x00\x01a\x00\x07", 7), (b"\x00\x01a\x00", None)])
def test_the_identifier_is_found_without_the_rest(body: bytes, packet_id: int | None) -> None:
    assert packet_id_of(memoryview(body)) == packet_id


def test_a_payload_is_bytes_text_or_pieces() -> None:
    assert list(payload_pieces("ü")) == ["ü".encode()]
    assert list(payload_pieces(b"x")) == [b"x"]
    assert list(payload_pieces([b"x", b"y"])) == [b"x", b"y"]
