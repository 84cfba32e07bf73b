"""Field types with their ranges, and the reading rules of every document of the planner."""

from typing import Annotated, Final

from pydantic import ConfigDict, Field

# Largest quantity. Double precision has 53 bits, so sums of larger ones would lose whole units by the hundred.
LARGEST: Final = 1e18

# Smallest rate or factor. A quotient by it must stay finite.
SMALLEST: Final = 1e-6

NonNegative = Annotated[float, Field(ge=0, le=LARGEST, strict=True)]
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST, strict=True)]
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Index = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
CodecChoice = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]{0,79}$")]

# Text of a route, as `planning.problem.route_reading` reads it.
RouteText = Annotated[str, Field(min_length=1, max_length=16_384)]

# Reading rules of documents that people write: unknown keys and NaN are faults. Quoted numbers are too, by ``strict``.
DOCUMENT: Final = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)
