"""Fields of MQTT 5 packets: bounds, incomplete data, malformed values."""

import pytest

from broker.client_packet import ClientPacket, Incomplete, Malformed


def reader(data: bytes, end: int | None = None) -> ClientPacket:
    return ClientPacket(data, 0, len(data) if end is None else end)


def test_fields_are_read_in_order() -> None:
    fields = reader(b"\x01\x02\x80\x01\x00\x02\xc3\xbc\x00\x01\xffrest")
    assert (fields.number(2), fields.variable(), fields.text(), fields.binary()) == (0x0102, 128, "ü", b"\xff")
    assert fields.left == 4


@pytest.mark.parametrize("data", [b"\x00\x02\xc3", b"\x00\x01\xff", b"\x00\x03a\x00b", b"\x00\x03\xed\xa0\x80"])
def test_a_text_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        reader(data).text()


def test_an_endless_length_is_refused() -> None:
    with pytest.raises(Malformed, match="more than four bytes"):
        reader(b"\xff\xff\xff\xff\x7f").variable()


def test_a_field_beyond_the_data_states_what_is_missing() -> None:
    with pytest.raises(Incomplete) as caught:
        reader(b"\x00\x05ab", end=100).text()
    assert caught.value.position == 7


def test_properties_are_asked_for_as_a_whole() -> None:
    with pytest.raises(Incomplete) as caught:
        reader(b"\x0a\x26\x00\x01", end=100).properties({0x26})
    assert caught.value.position == 11


def test_properties_of_every_form_are_read_and_user_properties_left_out() -> None:
    user = b"\x26\x00\x01k\x00\x01v"
    body = b"\x01\x01\x02\x00\x00\x00\x07\x03\x00\x01a\x09\x00\x01\xff\x0b\x80\x01" + user + user
    found = reader(bytes([len(body)]) + body).properties({1, 2, 3, 9, 0x0B, 0x26})
    assert found == {1: 1, 2: 7, 3: "a", 9: b"\xff", 0x0B: 128}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x02\x01\x01", "cannot have"),
        (b"\x02\x7f\x01", "cannot have"),
        (b"\x06\x23\x00\x01\x23\x00\x01", "twice"),
        (b"\x02\x23\x00\x01", "another length"),
        (b"\x09\x23\x00\x01", "longer than the packet"),
    ],
)
def test_faulty_properties_are_refused(data: bytes, fault: str) -> None:
    with pytest.raises(Malformed, match=fault):
        reader(data).properties({0x23})
