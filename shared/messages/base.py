"""Base of all messages: frozen, versioned, msgpack or JSON on the wire, decoded and validated in one step."""

from functools import cache
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.bus.topic import Topic
from shared.messages.bounds import clean_text

SCHEMA_VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
# Lists and maps in one message. A byte makes an empty one, which takes 60 times as much memory.
_MAX_CONTAINERS: Final = 131_072
# Smaller payloads cannot have more.
_UNCOUNTED_BYTES: Final = 64 * 1024
# An error report states so many faults, in so many characters.
_MAX_FAULTS: Final = 5
_MAX_REPORT: Final = 600

_Decoded = TypeVar("_Decoded")
_Container = TypeVar("_Container", list[Any], dict[Any, Any])


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

    schema_version: Annotated[int, Field(ge=0, le=2**31)] = SCHEMA_VERSION

    def encode(self) -> bytes:
        """Return the message as a msgpack map."""
        # A copy of a message is not validated, and may hold text of a library with surrogates in it.
        packed: bytes = msgpack.packb(self.model_dump(mode="python"), use_bin_type=True, unicode_errors="replace")
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
            return adapter.validate_json(_bounded_json(bytes(payload)))
        document = _unpacked(payload)
        if not isinstance(document, dict):
            raise MessageError(f"a message is a map, not {type(document).__name__}")
        return adapter.validate_python(document)
    except ValidationError as error:
        raise MessageError(describe_faults(error)) from None
    except MessageError:
        raise
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise MessageError(f"neither msgpack nor JSON: {clean_text(str(error), _MAX_REPORT)}") from error


def _bounded_json(text: bytes) -> bytes:
    # Brackets inside strings count too. No message has nearly as many.
    if len(text) > _UNCOUNTED_BYTES and text.count(b"[") + text.count(b"{") > _MAX_CONTAINERS:
        raise MessageError(f"more than {_MAX_CONTAINERS} lists and maps")
    return text


def _unpacked(payload: bytes | bytearray | memoryview) -> Any:
    if len(payload) <= _UNCOUNTED_BYTES:
        return msgpack.unpackb(payload)
    containers = 0

    def counted(container: _Container) -> _Container:
        nonlocal containers
        containers += 1
        if containers > _MAX_CONTAINERS:
            raise MessageError(f"more than {_MAX_CONTAINERS} lists and maps")
        return container

    return msgpack.unpackb(payload, list_hook=counted, object_hook=counted)


def of_topic(message: _Decoded, field: str, expected: str) -> _Decoded:
    """Return a message whose field agrees with the level of the topic that it came on.

    The broker's access rules let a client publish on its own topics only. Without this check it could still name
    another device or stream in the payload.

    Raises:
        MessageError: the field names another one.
    """
    value = getattr(message, field)
    if value != expected:
        raise MessageError(f"{field} {value!r} is not the topic's")
    return message


def describe_faults(error: ValidationError) -> str:
    """Return the first faults of a validation error in one line of bounded length, each with its place."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'message'}: {fault['msg']}" for fault in faults[:_MAX_FAULTS]
    ]
    if len(faults) > _MAX_FAULTS:
        shown.append(f"and {len(faults) - _MAX_FAULTS} more")
    return clean_text("; ".join(shown), _MAX_REPORT)
