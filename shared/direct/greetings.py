"""The first message of each side of a direct connection: who it is, and whom it means."""

from typing import Annotated, Final, TypeVar

import msgpack
from pydantic import Field, TypeAdapter

from shared.bus.errors import DecodeError
from shared.messages.base import MessageError, Part, decode_message
from shared.messages.bounds import Name, Quantity, Word

PROTOCOL_VERSION: Final = 1

_Greeting = TypeVar("_Greeting", "Hello", "Welcome")


class Hello(Part):
    """What the connecting side states of itself and of the peer that it means."""

    version: Annotated[int, Field(ge=0, le=2**31)] = PROTOCOL_VERSION
    device: Name
    boot_id: Word
    receiver: Name
    token: Word
    """The token in the receiver's presence."""
    shared_bytes: Quantity = 0
    """Size of the memory file that comes with this message; 0 for none."""


class Welcome(Part):
    """What the accepting side answers."""

    device: Name
    boot_id: Word


_HELLO: Final[TypeAdapter[Hello]] = TypeAdapter(Hello)
_WELCOME: Final[TypeAdapter[Welcome]] = TypeAdapter(Welcome)


def encode_greeting(greeting: Hello | Welcome) -> bytes:
    """Return the body of a greeting."""
    packed: bytes = msgpack.packb(greeting.model_dump(mode="python"))
    return packed


def decode_hello(body: bytes) -> Hello:
    """Decode the body of HELLO.

    Raises:
        DecodeError: it is malformed.
    """
    return _decode(_HELLO, body)


def decode_welcome(body: bytes) -> Welcome:
    """Decode the body of WELCOME.

    Raises:
        DecodeError: it is malformed.
    """
    return _decode(_WELCOME, body)


def _decode(adapter: TypeAdapter[_Greeting], body: bytes) -> _Greeting:
    try:
        return decode_message(adapter, body)
    except MessageError as error:
        raise DecodeError(f"a malformed greeting: {error}") from error
