"""Field types of messages, each with its bounds.

Anybody with an account can publish. So every field of a message has a type from this module, or one that is as narrow.
Identifiers and numbers outside their bounds are refused. Text for people is shortened and cleaned instead: the message
around it still counts. `tests/shared/messages/test_bounds.py` fails for a field without bounds.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from annotated_types import GroupedMetadata, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, FailFast, Field, StringConstraints, WithJsonSchema

from shared.bus.topics import NAME_PATTERN
from shared.fields import LARGEST, SMALLEST

MAX_BLOCKS: Final = 10_000
MAX_STAGES: Final = 256
MAX_ROUTES: Final = 4096
# Numbers of rows for which the time of a block is measured.
MAX_ROW_POINTS: Final = 16
# Of a stage. The number of a tile has 8 bits in a stage record.
MAX_TILES: Final = 64
# Of a fleet.
MAX_DEVICES: Final = 10_000
# Integers up to here are exact as double-precision numbers, and fit SQLite and numpy with room for sums.
MAX_INTEGER: Final = 2**53
# First second of the year 2100.
_LATEST_S: Final = 4_102_444_800.0
LONGEST_MS: Final = 1e12
# Products of a few bounded quantities stay below it, and its square is finite.
_LARGEST_ESTIMATE: Final = 1e100
_MAX_FACTOR: Final = 1e6
_MAX_TEXT: Final = 4096
MAX_LINE: Final = 512
_MAX_REASONS: Final = 100
# Bounds of a document of any form, such as the details of an event.
_MAX_DEPTH: Final = 16
_MAX_VALUES: Final = 100_000
_MAX_KEYS: Final = 256


@dataclass(frozen=True, slots=True)
class _Length(GroupedMetadata):
    at_least: int
    at_most: int

    def __iter__(self) -> Iterator[object]:
        yield from (MinLen(self.at_least), MaxLen(self.at_most), FailFast())


def at_most(count: int, *, at_least: int = 0) -> GroupedMetadata:
    """Return the bounds of a sequence; its validation ends at the first element that is refused.

    Without that end, a message of 150,000 wrong elements costs 150,000 error reports.
    """
    return _Length(at_least, count)


def clean_text(text: str, limit: int = _MAX_TEXT) -> str:
    """Return text for people without control characters and surrogates, and with at most `limit` characters."""
    shown = text if len(text) <= limit else f"{text[: limit - 3]}..."
    if shown.isprintable():
        return shown
    return "".join(character if _is_plain(character) else " " for character in shown)


def _is_plain(character: str) -> bool:
    # Cc: control characters. Cs: surrogates, which no encoding can express. Cf includes what reverses the direction of
    # a line; Zl and Zp break it.
    return unicodedata.category(character) not in ("Cc", "Cs", "Cf", "Zl", "Zp")


def _clean_line(text: str) -> str:
    return clean_text(text, MAX_LINE)


def _without_control_characters(text: str) -> str:
    if not text.isprintable() and any(not _is_plain(character) for character in text):
        raise ValueError("control characters are not allowed")
    return text


def _first_reasons(reasons: Any) -> Any:
    return reasons[:_MAX_REASONS] if isinstance(reasons, list | tuple) else reasons


def _plain_document(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document that consists of plain JSON values within bounds. Texts are cleaned, and bytes become text.

    Raises:
        ValueError: it is too deep or too large, or has a value that JSON or msgpack cannot express.
    """
    values = 0

    def plain(value: Any, depth: int) -> Any:
        nonlocal values
        values += 1
        if values > _MAX_VALUES or depth > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_VALUES} values, or deeper than {_MAX_DEPTH} levels")
        match value:
            case None | bool():
                return value
            case int() if abs(value) <= MAX_INTEGER:
                return value
            case float() if abs(value) <= _LARGEST_ESTIMATE:
                return value
            case str():
                return clean_text(value)
            case bytes():
                return clean_text(repr(value[:_MAX_TEXT]))
            case list() | tuple() if type(value) in (list, tuple):
                return [plain(item, depth + 1) for item in value]
            case dict() if len(value) <= _MAX_KEYS and all(isinstance(key, str) for key in value):
                return {_clean_line(key): plain(item, depth + 1) for key, item in value.items()}
        raise ValueError(f"a value of type {type(value).__name__} is no JSON value, or is out of bounds")

    return {_clean_line(key): plain(item, 1) for key, item in document.items()}


# Name of a device, stream or service: one level of a topic.
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
# SHA-256 of a model file's bytes, in hexadecimal.
ModelId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Numeric address with its port, `192.0.2.7:4000` or `[2001:db8::7]:4000`.
HostAndPort = Annotated[
    str, StringConstraints(max_length=64, pattern=r"^([0-9.]{7,15}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}$")
]
# Public key of a planner: 32 bytes in hexadecimal.
KEY_PATTERN: Final = re.compile(r"[0-9a-f]{64}")
PublicKey = Annotated[str, StringConstraints(pattern=rf"^{KEY_PATTERN.pattern}$")]
# Id of a request, given by the application or made by the source.
REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"
RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]
CodecName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_+-]{0,79}$")]
# Identifier that is no level of a topic: a version, a boot id, the name of a tensor or an element type.
Word = Annotated[str, StringConstraints(max_length=MAX_LINE), AfterValidator(_without_control_characters)]
# Text for people: several sentences, or one line.
Prose = Annotated[str, AfterValidator(clean_text), WithJsonSchema({"type": "string", "maxLength": _MAX_TEXT})]
Line = Annotated[str, AfterValidator(_clean_line), WithJsonSchema({"type": "string", "maxLength": MAX_LINE})]
# Reasons for people. Those beyond the bound are left out.
Reasons = Annotated[tuple[Prose, ...], at_most(_MAX_REASONS), BeforeValidator(_first_reasons)]
# Details of any form, in plain JSON values.
Details = Annotated[dict[str, Any], Field(max_length=_MAX_KEYS), AfterValidator(_plain_document)]

BlockIndex = Annotated[int, Field(ge=0, lt=MAX_BLOCKS)]
BlockStop = Annotated[int, Field(gt=0, le=MAX_BLOCKS)]
EpochNumber = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
# Bytes, operations and the like.
Quantity = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
# Numbers of requests, attempts, threads and the like.
Cardinal = Annotated[int, Field(ge=0, le=1_000_000)]
PositiveCardinal = Annotated[int, Field(ge=1, le=1_000_000)]
# Rows `[top, bottom)` of a tensor.
Rows = tuple[Cardinal, Cardinal]
# Wall clock in seconds since 1970.
Instant = Annotated[float, Field(ge=0, le=_LATEST_S)]
# Reading of a monotonic clock in seconds. It is negative for a moment before the start of the machine.
ClockReading = Annotated[float, Field(ge=-1e10, le=1e10)]
# A measured or emulated time.
Milliseconds = Annotated[float, Field(ge=0, le=LONGEST_MS)]
# A time that a policy states, whose documents allow so much.
PolicyMilliseconds = Annotated[float, Field(ge=0, le=LARGEST)]
Bandwidth = Annotated[float, Field(ge=0, le=1e9)]
# Computing time relative to that of an idle device, or of this machine.
Factor = Annotated[float, Field(ge=SMALLEST, le=_MAX_FACTOR)]
FactorFromOne = Annotated[float, Field(ge=1, le=_MAX_FACTOR)]
Share = Annotated[float, Field(ge=0, le=1)]
Watts = Annotated[float, Field(ge=0, le=1e9)]
# A number that was computed from bounded ones, such as a prediction or a threshold.
Estimate = Annotated[float, Field(ge=-_LARGEST_ESTIMATE, le=_LARGEST_ESTIMATE)]
# An error of an encoding: up to the largest float, which stands for a value that is not finite.
ErrorSize = Annotated[float, Field(ge=0, le=1.7976931348623157e308)]
