import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from shared.fields import (
    DOCUMENT,
    LARGEST,
    SMALLEST,
    CodecChoice,
    Count,
    Flag,
    Index,
    Name,
    NonNegative,
    Positive,
    Share,
)


@dataclass(frozen=True, config=DOCUMENT)
class Document:
    """One field of every kind."""

    amount: NonNegative = 0.0
    rate: Positive = 1.0
    count: Count = 1
    index: Index = 0
    share: Share = 0.5
    flag: Flag = False
    name: Name = "x"
    codec: CodecChoice = "raw"


ADAPTER = TypeAdapter(Document)


@pytest.mark.parametrize(
    "values",
    [
        {"amount": LARGEST, "rate": SMALLEST, "count": 1_000_000, "index": 0, "share": 1},
        {"name": "n" * 256, "codec": "uint8+zstd", "flag": True},
    ],
)
def test_limits_are_allowed(values: dict[str, object]) -> None:
    ADAPTER.validate_python(values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", -1.0),
        ("amount", 2 * LARGEST),
        ("amount", float("nan")),
        ("amount", "3"),
        ("rate", 0.0),
        ("count", 0),
        ("count", 1.0),
        ("index", -1),
        ("share", 1.1),
        ("flag", 1),
        ("name", ""),
        ("codec", "Raw"),
        ("colour", 1),
    ],
)
def test_all_else_is_a_fault(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python({field: value})
