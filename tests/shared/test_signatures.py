"""Signatures of the planner's messages: what they cover, and what is refused."""

import pytest

from shared.signatures import SIGNATURE_PROPERTY, SignatureError, SigningKey, parse_keys, verified

KEY = SigningKey(bytes(range(32)))
VECTOR = (
    "1:03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8:7:"
    "a8f709c35e1b7c15db04c4b60bb7c3e37bba51bc439a61fe775e6ffaf3a13d5f"
    "1f75ac92526b181310a2b4ef7ba6b7590518b9c0b6e9194a2487793bc23d0605"
)
TOPIC, PAYLOAD = "segue/v1/streams/door/plan", b"a plan"


def signed(topic: str = TOPIC, payload: bytes = PAYLOAD, number: int = 7) -> dict[str, str]:
    return {SIGNATURE_PROPERTY: KEY.sign(topic, payload, number)}


def test_a_signature_names_its_key_and_its_number() -> None:
    found = verified(signed(), TOPIC, PAYLOAD)
    assert found is not None
    assert (found.key, found.number) == (KEY.public, 7)


def test_the_format_stays_the_same() -> None:
    """A vector on disk: other versions must verify it. Ed25519 is deterministic (RFC 8032)."""
    assert KEY.public == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert signed()[SIGNATURE_PROPERTY] == VECTOR


def test_a_message_without_a_signature_has_none() -> None:
    assert verified({"other": "x"}, TOPIC, PAYLOAD) is None


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("segue/v1/streams/yard/plan", PAYLOAD),
        ("other/v1/streams/door/plan", PAYLOAD),
        (TOPIC, b"another plan"),
        (TOPIC, b""),
    ],
)
def test_a_signature_of_another_message_is_refused(topic: str, payload: bytes) -> None:
    with pytest.raises(SignatureError, match="does not belong"):
        verified(signed(), topic, payload)


def test_the_number_is_part_of_the_signed_text() -> None:
    text = signed()[SIGNATURE_PROPERTY].replace(":7:", ":8:")
    with pytest.raises(SignatureError, match="does not belong"):
        verified({SIGNATURE_PROPERTY: text}, TOPIC, PAYLOAD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:::",
        ":" * 1000,
        "2:" + signed()[SIGNATURE_PROPERTY][2:],
        signed()[SIGNATURE_PROPERTY] + "0",
        signed()[SIGNATURE_PROPERTY][:-1],
        signed()[SIGNATURE_PROPERTY].replace(":7:", ":-7:"),
        signed()[SIGNATURE_PROPERTY].replace(":7:", ":" + "7" * 5000 + ":"),
        signed()[SIGNATURE_PROPERTY].replace(":7:", ":\u0667:"),
        signed()[SIGNATURE_PROPERTY].replace(KEY.public, KEY.public.upper()),
        "1:" + "f" * 64 + ":7:" + "z" * 128,
        "1:" + "f" * 64 + ":7:" + "0" * 128,
        "x" * 65_535,
    ],
)
def test_a_malformed_signature_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        verified({SIGNATURE_PROPERTY: text}, TOPIC, PAYLOAD)


def test_a_key_can_be_stored_and_read() -> None:
    generated = SigningKey.generate()
    assert SigningKey(generated.private).public == generated.public


def test_keys_are_parsed_each_once_and_others_refused() -> None:
    assert parse_keys([KEY.public, "ab" * 32, KEY.public]) == (KEY.public, "ab" * 32)
    for bad in ("", "ab", "AB" * 32, "g" * 64, f"{KEY.public}\n"):
        with pytest.raises(ValueError, match="no key"):
            parse_keys([bad])
