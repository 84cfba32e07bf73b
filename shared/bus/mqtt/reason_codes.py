"""Reason codes: how the broker says that it refuses, and why (MQTT 5.0, 2.4)."""

from dataclasses import dataclass
from typing import Final, Protocol, Self

# Reason codes from here on report a failure.
_FIRST_FAILURE: Final = 0x80


class ReasonCode(Protocol):
    """A reason code of the library. Its enumerations are no `IntEnum`, and have no order and no hash."""

    @property
    def name(self) -> str:
        """The name in capitals, with underscores."""
        ...

    @property
    def value(self) -> int:
        """The number."""
        ...


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason code of the broker (MQTT 5.0, 2.4).

    Attributes:
        code: the number.
        text: what it means, such as "Not authorized".
    """

    code: int
    text: str

    @classmethod
    def of(cls, code: ReasonCode) -> Self:
        """Return the reason for a code of the library."""
        return cls(code.value, code.name.replace("_", " ").capitalize())

    @property
    def is_failure(self) -> bool:
        """Whether the broker refuses."""
        return self.code >= _FIRST_FAILURE

    def __str__(self) -> str:
        return self.text
