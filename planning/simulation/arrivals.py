"""Arrival times of requests: all at time 0, periodic, random, or recorded."""

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never


@dataclass(frozen=True, slots=True)
class AllAtOnce:
    """Every request arrives at 0."""


@dataclass(frozen=True, slots=True)
class Periodic:
    """One request every 1000 / ``rate_hz`` ms, the first at 0."""

    rate_hz: float


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent, exponentially distributed gaps with a mean of 1000 / ``rate_hz`` ms, one before each request."""

    rate_hz: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """Requests at the given times in ms, ascending."""

    times_ms: tuple[float, ...]


Arrivals = AllAtOnce | Periodic | Poisson | Recorded


def arrival_times_ms(arrivals: Arrivals, count: int, rng: random.Random) -> tuple[float, ...]:
    """Return the ascending arrival times of ``count`` requests (of a recording: at most that many), in ms.

    Raises:
        ValueError: if a rate is not positive or a recording is not ascending.
    """
    match arrivals:
        case AllAtOnce():
            return (0.0,) * count
        case Periodic(rate_hz) | Poisson(rate_hz) if rate_hz <= 0:
            raise ValueError(f"a rate of {rate_hz} Hz is not positive")
        case Periodic(rate_hz):
            return tuple(index * 1000 / rate_hz for index in range(count))
        case Poisson(rate_hz):
            now_ms, times = 0.0, []
            for _ in range(count):
                now_ms += rng.expovariate(rate_hz) * 1000
                times.append(now_ms)
            return tuple(times)
        case Recorded(times_ms):
            if any(later < earlier for earlier, later in pairwise(times_ms)):
                raise ValueError("recorded arrival times must ascend")
            return times_ms[:count]
        case _:
            assert_never(arrivals)
