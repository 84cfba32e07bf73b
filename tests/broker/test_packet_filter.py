"""The check of a client's packets: what passes, what is left out with an answer, what ends the connection."""

import contextlib
import random
import struct

import pytest

from broker.packet_filter import PacketFilter, Passed
from broker.refusals import Refused
from broker.topic_quota import TopicQuota

MAX_PACKET_BYTES = 1_000_000


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(data)) + data


def packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size or not length:
        size, digit = divmod(size, 128)
        length += bytes([digit | (0x80 if size else 0)])
    return bytes([first]) + length + body


def connect(flags: int = 2, properties: bytes = b"", rest: bytes = b"", name: bytes = b"MQTT", level: int = 5) -> bytes:
    head = text(name) + bytes([level, flags, 0, 60])
    return packet(0x10, head + bytes([len(properties)]) + properties + text("me") + rest)


def publish(topic: str | bytes, payload: bytes = b"x", flags: int = 0, properties: bytes = b"") -> bytes:
    packet_id = b"\x00\x07" if flags & 6 else b""
    return packet(0x30 | flags, text(topic) + packet_id + bytes([len(properties)]) + properties + payload)


def subscribe(*filters: str, options: int = 1) -> bytes:
    return packet(0x82, b"\x00\x09\x00" + b"".join(text(each) + bytes([options]) for each in filters))


def connected(quota: TopicQuota | None = None) -> PacketFilter:
    checked = PacketFilter(MAX_PACKET_BYTES, quota or TopicQuota())
    assert checked.feed(connect()) == Passed(connect())
    return checked


GOOD = (
    publish("a/b", b"payload", flags=2),
    publish("böse/ü", b"", flags=1),
    publish(
        "a", bytes(3000), properties=b"\x02\x00\x00\x00\x05\x08" + text("reply/to") + b"\x26" + text("k") + text("v")
    ),
    publish("t", properties=b"\x23\x00\x01"),
    publish("", properties=b"\x23\x00\x01"),
    subscribe("a/+/b", "#", "ü/x"),
    packet(0xA2, b"\x00\x01\x00" + text("a")),
    packet(0x40, b"\x00\x01"),
    packet(0x50, b"\x00\x01\x00"),
    packet(0x62, b"\x00\x01\x00\x00"),
    packet(0x70, b"\x00\x01"),
    b"\xc0\x00",
)


@pytest.mark.parametrize("seed", range(5))
def test_good_packets_pass_unchanged_however_they_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    stream = b"".join(rng.sample(GOOD, len(GOOD)) if seed else GOOD)
    stream = b"".join(GOOD[3:5]) + stream + b"\xe0\x00"
    checked, passed, position = connected(), b"", 0
    while position < len(stream):
        size = rng.choice((1, 2, 5, 100, 4000))
        piece = checked.feed(stream[position : position + size])
        assert (piece.answer, piece.notes) == (b"", ())
        passed += piece.forward
        position += size
    assert passed == stream


@pytest.mark.parametrize("topic", ["über/x", "\u00a0", "😀/x", "$SYS/x", "$share/g/x", "a/" * 200 + "a", "x" * 5000])
def test_a_topic_that_would_end_rumqttd_is_left_out_and_answered(topic: str) -> None:
    before, after = publish("a", b"1"), publish("b", b"2")
    passed = connected().feed(before + publish(topic, bytes(100), flags=2) + after)
    assert passed.forward == before + after
    assert passed.answer == b"\x40\x04\x00\x07\x90\x00"
    assert "a message with" in passed.notes[0]


def test_the_payload_of_a_message_that_is_left_out_is_left_out_as_well_when_it_comes_later() -> None:
    checked, bad = connected(), publish("über", bytes(1000))
    first, second = checked.feed(bad[:50]), checked.feed(bad[50:] + publish("a"))
    assert (first.forward, second.forward) == (b"", publish("a"))


@pytest.mark.parametrize("topic_filter", ["$share/g/a", "$SYS/#", "#/a", "a#", "a/+b", "", "/" * 300])
def test_a_filter_that_rumqttd_does_not_serve_is_refused_in_suback(topic_filter: str) -> None:
    passed = connected().feed(subscribe("good", topic_filter))
    assert (passed.forward, passed.answer) == (b"", b"\x90\x05\x00\x09\x00\x8f\x8f")


def test_quality_of_service_2_is_refused_in_suback() -> None:
    assert connected().feed(subscribe("a", options=2)).answer == b"\x90\x04\x00\x09\x00\x8f"


@pytest.mark.parametrize(
    "bad",
    [
        b"\x20\x03\x00\x00\x00",  # CONNACK: only a broker sends it
        b"\x90\x04\x00\x01\x00\x00",
        b"\xb0\x04\x00\x01\x00\x00",
        b"\xd0\x00",
        b"\xf0\x02\x18\x00",
        b"\x00\x00",
        connect(),
        publish("a/#"),
        publish(""),
        publish(b"\xff"),
        publish("a\0b"),
        publish("a", flags=6),
        publish("a", properties=b"\x23\x00\x00"),
        publish("", properties=b"\x23\x00\x07"),
        publish("a", properties=b"\x0b\x01"),
        publish("a", properties=b"\x08" + text("a/#")),
        packet(0x32, text("a") + b"\x00\x00\x00"),
        packet(0x82, b"\x00\x01\x00"),
        packet(0x80, b"\x00\x01\x00" + text("a") + b"\x01"),
        subscribe("a", options=0xC1),
        packet(0x40, b"\x00\x00"),
        packet(0xC0, b"hello"),
        b"\x30\xff\xff\xff\xff\x7f",
        packet(0x30, b"\xff\xffabc"),
        b"\x30\xff\xff\xff\x7f",
        b"\x82\xff\xff\x7f",
    ],
    ids=lambda bad: bytes(bad[:8]).hex(),
)
def test_other_packets_end_the_connection_with_a_reason(bad: bytes) -> None:
    with pytest.raises(Refused) as caught:
        connected().feed(bad)
    assert caught.value.farewell[0] == 0xE0
    assert caught.value.farewell[2] >= 0x80


@pytest.mark.parametrize(
    ("bad", "farewell"),
    [
        (connect(name=b"MQTT", level=4), b"\x20\x02\x00\x01"),
        (connect(name=b"MQIsdp", level=3), b"\x20\x02\x00\x01"),
        (connect(level=6), b"\x20\x03\x00\x84\x00"),
        (connect(name=b"AMQP"), b"\x20\x03\x00\x84\x00"),
        (connect(flags=3), b"\x20\x03\x00\x81\x00"),
        (connect(flags=0x1E, rest=b"\x00" + text("a") + text("b")), b"\x20\x03\x00\x81\x00"),
        (connect(properties=b"\x21\x00\x00"), b"\x20\x03\x00\x82\x00"),
        (connect(properties=b"\x15" + text("x")), b"\x20\x03\x00\x82\x00"),
        (connect(flags=6, rest=b"\x00" + text("über") + text("b")), b"\x20\x03\x00\x90\x00"),
        (connect(flags=6, rest=b"\x00" + text("a/#") + text("b")), b"\x20\x03\x00\x90\x00"),
        (publish("a"), b"\x20\x03\x00\x82\x00"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b""),
    ],
)
def test_a_connect_that_is_refused_gets_its_connack(bad: bytes, farewell: bytes) -> None:
    with pytest.raises(Refused) as caught:
        PacketFilter(MAX_PACKET_BYTES, TopicQuota()).feed(bad)
    assert caught.value.farewell == farewell


def test_a_websocket_client_is_told_what_this_broker_serves() -> None:
    with pytest.raises(Refused, match="mosquitto") as caught:
        PacketFilter(MAX_PACKET_BYTES, TopicQuota()).feed(b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
    assert caught.value.farewell.startswith(b"HTTP/1.1 426 ")


def test_nothing_may_follow_a_disconnect() -> None:
    with pytest.raises(Refused, match="wrong time"):
        connected().feed(b"\xe0\x00" + publish("a"))


def test_topics_beyond_the_quota_are_left_out_and_known_ones_pass() -> None:
    checked = connected(TopicQuota(limit=2))
    good = publish("a") + publish("b")
    assert checked.feed(good).forward == good
    assert checked.feed(publish("c") + publish("a")).forward == publish("a")


def test_a_packet_in_single_bytes_is_read_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    checked, attempts = connected(), 0
    original = PacketFilter._checked

    def counted(self: PacketFilter, view: memoryview, position: int) -> object:
        nonlocal attempts
        attempts += 1
        return original(self, view, position)

    monkeypatch.setattr(PacketFilter, "_checked", counted)
    long = packet(0x30, text("a" * 3000) + b"\x00" + b"x" * 3000)
    for byte in long:
        checked.feed(bytes([byte]))
    assert attempts < 12


@pytest.mark.parametrize("seed", range(200))
def test_random_changes_are_passed_or_refused(seed: int) -> None:
    """Whatever comes, the filter answers with `Passed` or `Refused`."""
    rng = random.Random(seed)
    stream = bytearray(connect() + b"".join(rng.choices(GOOD, k=5)))
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(stream))
        match rng.randrange(3):
            case 0:
                stream[place] = rng.randrange(256)
            case 1:
                del stream[place]
            case _:
                stream[place:place] = rng.randbytes(rng.randrange(1, 9))
    checked = PacketFilter(MAX_PACKET_BYTES, TopicQuota())
    passed = b""
    with contextlib.suppress(Refused):
        for start in range(0, len(stream), 7):
            passed += checked.feed(bytes(stream[start : start + 7])).forward
    assert len(passed) <= len(stream)
