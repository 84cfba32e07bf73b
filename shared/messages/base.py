"""What every control message has in common: frozen, versioned, msgpack on the wire, decoded once."""

import json
import re
from functools import cache
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from shared.bus.topic import Topic

SCHEMA_VERSION = 1
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_MAX_DIGITS = 20
_LONG_NUMBER = re.compile(rb"\d{19}")
"""Shorter integers fit 64 bits: only where there is such a one the document is read twice."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""The name of a device, stream or service."""

ModelId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The SHA-256 of a model file's bytes, in hexadecimal."""

REQUEST_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"
RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]
"""What identifies a request: given by the application, or made by the source."""


_Decoded = TypeVar("_Decoded")


class MessageError(ValueError):
    """A payload that is no message: what is wrong with it, in one line."""


class Part(BaseModel):
    """A part of messages. Readers ignore unknown fields; new fields have defaults."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
    )


class Message(Part):
    """A whole message: it travels on `TOPIC`, or is part of messages that do."""

    TOPIC: ClassVar[Topic[...] | None] = None

    schema_version: int = SCHEMA_VERSION

    def encode(self) -> bytes:
        """Return the message as a msgpack map."""
        packed: bytes = msgpack.packb(self.model_dump(mode="python"), use_bin_type=True)
        return packed

    def encode_json(self) -> bytes:
        """Return the message as JSON, for people and programs without msgpack; bytes become base64."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, payload: bytes | bytearray | memoryview) -> Self:
        """Read a message from msgpack, or from JSON as people write it.

        Raises:
            MessageError: the payload is too large, is neither, or does not validate.
        """
        adapter: TypeAdapter[Self] = _adapter(cls)
        return validate(adapter, payload)


class Union:
    """A tagged union of messages that travel on one topic, told apart by their `kind`."""

    __slots__ = ("_adapter",)

    def __init__(self, union: Any) -> None:
        """Make the union of `union`, an `Annotated[A | B, Field(discriminator="kind")]`."""
        self._adapter: TypeAdapter[Any] = TypeAdapter(union)

    def decode(self, payload: bytes | bytearray | memoryview) -> Any:
        """Read whichever member the payload is.

        Raises:
            MessageError: the payload is none of them.
        """
        return validate(self._adapter, payload)


@cache
def _adapter(kind: type[Message]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def validate(adapter: TypeAdapter[_Decoded], payload: bytes | bytearray | memoryview) -> _Decoded:
    """Decode `payload` once, at the boundary.

    Raises:
        MessageError: the payload is too large, is neither msgpack nor JSON, or does not validate.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{len(payload)} bytes are more than a control message may have ({MAX_MESSAGE_BYTES})")
    try:
        if bytes(payload[:1]) == b"{":
            text = bytes(payload)
            if _LONG_NUMBER.search(text):
                json.loads(text, parse_int=_integer)
            return adapter.validate_json(text)
        document = msgpack.unpackb(payload)
        if not isinstance(document, dict):
            raise MessageError(f"a message is a map, not {type(document).__name__}")
        return adapter.validate_python(document)
    except ValidationError as error:
        raise MessageError(describe(error)) from error
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError(f"neither msgpack nor JSON: {error}") from error


def _integer(digits: str) -> int:
    """Read an integer of a JSON document, which must fit msgpack as well: what is read may have to be written again."""
    if len(digits) > _MAX_DIGITS or not -(2**63) <= int(digits) < 2**64:
        raise MessageError(f"the integer {digits[:_MAX_DIGITS]} does not fit 64 bits")
    return int(digits)


def describe(error: ValidationError) -> str:
    """Say in one line what does not validate, and where."""
    faults = (
        f"{'.'.join(str(part) for part in fault['loc']) or 'message'}: {fault['msg']}" for fault in error.errors()
    )
    return "; ".join(faults)
