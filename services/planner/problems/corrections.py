"""Corrections of the cost model, learned from measured latencies: one factor per device or link, bounded, decaying."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

# A device, or a directed link by its two ends.
Part = tuple[str, ...]

LARGEST_FACTOR: Final = 8.0
# Time in which the logarithm of a factor halves: what was measured under load need not hold for long.
HALF_LIFE_S: Final = 120.0
# Factors are rounded to powers of this, so that the problem does not change with every second.
_STEP: Final = 1.1


def device_part(device: str) -> Part:
    """Return a device as the part that is corrected."""
    return (device,)


def link_part(source: str, target: str) -> Part:
    """Return a directed link as the part that is corrected."""
    return (source, target)


@dataclass(frozen=True, slots=True)
class _Learned:
    factor: float
    at_s: float

    def factor_at(self, now_s: float) -> float:
        age_s = max(0.0, now_s - self.at_s)
        return float(self.factor ** (0.5 ** (age_s / HALF_LIFE_S)))


@dataclass(frozen=True, slots=True)
class Corrections:
    """Factors by which parts of the fleet cost more than profiles and estimates say. Immutable."""

    _learned: tuple[tuple[Part, _Learned], ...] = ()

    def learn(self, factors: Mapping[Part, float], now_s: float) -> "Corrections":
        """Return the corrections with further factors, which multiply what is left of earlier ones.

        Args:
            factors: measured over predicted cost, by part.
            now_s: planner's clock.
        """
        learned = {part: each for part, each in self._learned if each.factor_at(now_s) > _STEP**0.5}
        for part, factor in factors.items():
            before = learned[part].factor_at(now_s) if part in learned else 1.0
            if math.isfinite(factor):
                learned[part] = _Learned(min(max(before * factor, 1.0), LARGEST_FACTOR), now_s)
        return Corrections(tuple(learned.items()))

    def factor(self, part: Part, now_s: float) -> float:
        """Return the present factor of a part, rounded; 1 if nothing was learned."""
        for known, each in self._learned:
            if known == part:
                return float(_STEP ** round(math.log(each.factor_at(now_s), _STEP)))
        return 1.0

    def present(self, now_s: float) -> Iterator[tuple[Part, float]]:
        """Yield the parts whose factor is not 1, with it."""
        for part, _ in self._learned:
            if (factor := self.factor(part, now_s)) > 1.0:
                yield part, factor


NO_CORRECTIONS: Final = Corrections()
