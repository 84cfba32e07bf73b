"""The first messages of a direct connection."""

import msgpack
import pytest

from shared.bus.errors import DecodeError
from shared.direct.greetings import Hello, Welcome, decode_hello, decode_welcome, encode_greeting

HELLO = Hello(device="pi", boot_id="b", receiver="server", token="t", shared_bytes=5)


def test_greetings_return_as_they_were() -> None:
    assert decode_hello(encode_greeting(HELLO)) == HELLO
    welcome = Welcome(device="server", boot_id="c")
    assert decode_welcome(encode_greeting(welcome)) == welcome


def test_fields_of_a_later_version_are_ignored() -> None:
    assert decode_hello(msgpack.packb({**HELLO.model_dump(), "more": 1})) == HELLO


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"[" * 4000,
        b"\x91" * 4000,
        msgpack.packb([1]),
        msgpack.packb({}),
        msgpack.packb({**HELLO.model_dump(), "device": "no name"}),
        msgpack.packb({**HELLO.model_dump(), "device": "a" * 65}),
        msgpack.packb({**HELLO.model_dump(), "shared_bytes": -1}),
        msgpack.packb({**HELLO.model_dump(), "token": 5}),
    ],
)
def test_what_is_malformed_raises_one_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_hello(body)
