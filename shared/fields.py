"""Numbers with their ranges, and the reading rules that every document of the planner shares."""

from typing import Annotated, Final

from pydantic import ConfigDict, Field

LARGEST: Final = 1e18
"""No quantity may be larger: past it, sums lose whole units."""

SMALLEST: Final = 1e-6
"""No rate or factor may be smaller: what is divided by it must stay finite."""

NonNegative = Annotated[float, Field(ge=0, le=LARGEST, strict=True)]
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST, strict=True)]
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Index = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
CodecChoice = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]{0,79}$")]

DOCUMENT: Final = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)
"""How user-written documents are read: unknown keys and NaN are faults, and so are quoted numbers."""
