"""Packets from a stream that arrives in pieces of any size."""

from collections.abc import Sequence

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.errors import DecodeError
from shared.bus.mqtt.packet_reader import IncomingPacket, IncomingPublish, PacketReader, UnreadablePublish
from shared.bus.mqtt.properties import NO_PROPERTIES, Properties
from shared.bus.mqtt.publish_packet import PublishHead, encode_head, encode_length

LARGE = bytes(range(256)) * 1024


def publication(
    topic: str, payload: bytes, packet_id: int | None = None, properties: Properties | None = None
) -> bytes:
    head = PublishHead(topic, properties or NO_PROPERTIES, packet_id, retain=False)
    return encode_head(head, len(payload)) + payload


def read(reader: PacketReader, data: bytes, sizes: Sequence[int] = ()) -> list[IncomingPacket]:
    """Feed a stream in pieces of these sizes, and of any size after them."""
    packets: list[IncomingPacket] = []
    position, remaining = 0, list(sizes)
    while position < len(data):
        room = reader.buffer()
        assert len(room) > 0
        size = min(len(room), len(data) - position, remaining.pop(0) if remaining else len(data))
        room[:size] = data[position : position + size]
        reader.received(size)
        while (packet := reader.next_packet()) is not None:
            packets.append(packet)
        position += size
    return packets


@given(st.lists(st.integers(1, 90_000), max_size=20))
def test_the_size_of_the_pieces_does_not_matter(sizes: list[int]) -> None:
    stream = (
        publication("a", b"x", 1)
        + publication("b", LARGE, 2, Properties(user={"k": "v"}))
        + mqtt5.PubAckPacket(7).write()
        + publication("c", LARGE[:65_536])
        + mqtt5.PingRespPacket().write()
        + publication("d", b"")
    )
    packets = read(PacketReader(), stream, sizes)
    first, second, acknowledgement, third, ping, fourth = packets
    assert first == IncomingPublish("a", b"x", NO_PROPERTIES, 1, retain=False)
    assert second == IncomingPublish("b", LARGE, Properties(user={"k": "v"}), 2, retain=False)
    assert isinstance(acknowledgement, mqtt5.PubAckPacket)
    assert acknowledgement.packet_id == 7
    assert third == IncomingPublish("c", LARGE[:65_536], NO_PROPERTIES, None, retain=False)
    assert isinstance(ping, mqtt5.PingRespPacket)
    assert fourth == IncomingPublish("d", b"", NO_PROPERTIES, None, retain=False)


@given(st.lists(st.integers(1, 90_000), max_size=10))
def test_a_payload_beyond_the_bound_is_skipped(sizes: list[int]) -> None:
    reader = PacketReader(lambda: 1_200_000)
    big, fits = bytes(1_200_001), bytes(1_200_000)
    stream = publication("big", big, 3) + publication("fits", fits, 4) + publication("small", b"x", 5)
    assert read(reader, stream, sizes) == [
        IncomingPublish("big", b"", NO_PROPERTIES, 3, retain=False, skipped_bytes=len(big)),
        IncomingPublish("fits", fits, NO_PROPERTIES, 4, retain=False),
        IncomingPublish("small", b"x", NO_PROPERTIES, 5, retain=False),
    ]


def raw_publication(topic: bytes, properties: bytes, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + b"\x00\x09" + encode_length(len(properties)) + properties + payload
    return b"\x32" + encode_length(len(body)) + body


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (raw_publication(b"\xff", b"", b"x"), "not UTF-8"),
        (raw_publication(b"\xff", b"", LARGE), "not UTF-8"),
        (raw_publication(b"", b"", LARGE), "without a topic"),
        (raw_publication(b"a", b"\x26\x00\x01\xff\x00\x00", b"x"), "not UTF-8"),
        (raw_publication(b"a", b"\x7f", b"x"), "unknown property"),
        (raw_publication(b"a", b"\x26\xff\xff" + b"n" * 65_535 + b"\x00\x00" + bytes(300_000), b"x"), "too long"),
    ],
)
@pytest.mark.parametrize("sizes", [(), (1,) * 40, (70_000, 1, 70_000)])
def test_what_a_sender_wrote_wrongly_is_passed_over_with_its_identifier(
    stream: bytes, reason: str, sizes: tuple[int, ...]
) -> None:
    bad, good = read(PacketReader(), stream + publication("a", b"x"), sizes)
    assert isinstance(bad, UnreadablePublish)
    assert bad.packet_id == 9
    assert reason in bad.reason
    assert isinstance(good, IncomingPublish)


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x34\x06\x00\x01a\x00\x01\x00", "quality of service"),
        (b"\xf0\x00", "malformed"),
        (b"\x40\x03\x00\x01\xee", "malformed"),
        (b"\x90\xff\xff\x7f" + bytes(300_000), "no message"),
        (b"\x30\xff\xff\xff\xff\x7f", "four bytes"),
    ],
)
def test_a_broker_that_does_not_speak_mqtt_5_ends_the_stream(stream: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        read(PacketReader(), stream)


# The library's panic is also reported as an exception that nobody could raise.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_whose_text_is_not_utf8_ends_the_stream() -> None:
    with pytest.raises(DecodeError, match="not UTF-8"):
        read(PacketReader(), b"\x20\x08\x00\x00\x05\x1f\x00\x02\xff\xff")


@given(st.binary(max_size=400))
def test_arbitrary_bytes_make_packets_or_the_one_error(data: bytes) -> None:
    # Packets with texts are left out: the library prints a stack trace for each that is not UTF-8.
    stream = bytes(byte & 0x3F if index == 0 else byte for index, byte in enumerate(data))
    if not stream or stream[0] & 0xF0 != 0x30:
        stream = b"\x30" + stream[1:]
    reader = PacketReader()
    try:
        for packet in read(reader, stream):
            assert isinstance(packet, IncomingPublish | UnreadablePublish)
            break
    except DecodeError:
        return
