"""Base of all messages: frozen, versioned, msgpack or JSON on the wire, decoded and validated in one step."""

import json
import re
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from shared.bus.topic import Topic
from shared.bus.topics import NAME_PATTERN

SCHEMA_VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
_MAX_DIGITS: Final = 20
# Integers of fewer digits fit into 64 bits. Only a document with a longer one has to be parsed twice.
_LONG_NUMBER: Final = re.compile(rb"\d{19}")

# Name of a device, stream or service: one level of a topic.
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]

# SHA-256 of a model file's bytes, in hexadecimal.
ModelId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

# Id of a request, given by the application or made by the source.
REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"
RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]


_Decoded = TypeVar("_Decoded")


class MessageError(ValueError):
    """A payload is not a valid message. The text states the faults in one line."""


class Part(BaseModel):
    """A part of messages. To mix versions, readers ignore unknown fields, and new fields have defaults."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
    )


class Message(Part):
    """A message that is sent on `TOPIC`, or inside a message that is."""

    TOPIC: ClassVar[Topic[...] | None] = None

    schema_version: int = SCHEMA_VERSION

    def encode(self) -> bytes:
        """Return the message as a msgpack map."""
        packed: bytes = msgpack.packb(self.model_dump(mode="python"), use_bin_type=True)
        return packed

    def encode_json(self) -> bytes:
        """Return the message as JSON, with bytes in base64."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, payload: bytes | bytearray | memoryview) -> Self:
        """Decode a message from msgpack or JSON.

        Raises:
            MessageError: the payload is too large, is neither of both, or does not validate.
        """
        adapter: TypeAdapter[Self] = _adapter(cls)
        return decode_message(adapter, payload)


class MessageUnion:
    """A union of the messages that are sent on one topic, distinguished by their field `kind`."""

    __slots__ = ("_adapter",)

    def __init__(self, union: Any) -> None:
        """Make a decoder of `union`, an `Annotated[A | B, Field(discriminator="kind")]`."""
        self._adapter: TypeAdapter[Any] = TypeAdapter(union)

    def decode(self, payload: bytes | bytearray | memoryview) -> Any:
        """Decode a payload as the member that its `kind` names.

        Raises:
            MessageError: the payload is not a valid message of any member.
        """
        return decode_message(self._adapter, payload)


@cache
def _adapter(kind: type[Message]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def decode_message(adapter: TypeAdapter[_Decoded], payload: bytes | bytearray | memoryview) -> _Decoded:
    """Decode a payload of msgpack or JSON and validate it.

    Raises:
        MessageError: the payload is too large, is neither msgpack nor JSON, or does not validate.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{len(payload)} bytes are more than a control message may have ({MAX_MESSAGE_BYTES})")
    try:
        # In msgpack this byte is the integer 123: no map begins with it.
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
        raise MessageError(describe_faults(error)) from error
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError(f"neither msgpack nor JSON: {error}") from error


def _integer(digits: str) -> int:
    """Parse an integer of a JSON document. It must fit msgpack as well: the message may be encoded again."""
    if len(digits) > _MAX_DIGITS or not -(2**63) <= int(digits) < 2**64:
        raise MessageError(f"the integer {digits[:_MAX_DIGITS]} does not fit 64 bits")
    return int(digits)


def describe_faults(error: ValidationError) -> str:
    """Return the faults of a validation error in one line, each with its place."""
    faults = (
        f"{'.'.join(str(part) for part in fault['loc']) or 'message'}: {fault['msg']}" for fault in error.errors()
    )
    return "; ".join(faults)
