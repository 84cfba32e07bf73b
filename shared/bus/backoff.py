"""Decides when a lost connection is tried again, and when retries end because the broker refuses this client."""

import random
from dataclasses import dataclass, field
from typing import Final

from shared.bus.errors import AccessRefused, BusError

# A connection that lasted this long counts as a success: the next pause is the shortest again.
_STABLE_AFTER_S: Final = 5.0
# Number of silently closed connections in a row that count as a refusal. rumqttd closes so for a wrong password. A
# broker that is shutting down does it once.
_HANG_UPS_THAT_REFUSE: Final = 3


@dataclass(slots=True)
class Backoff:
    """Exponential backoff with jitter over the attempts of one client.

    The jitter spreads the reconnects of a fleet, whose clients all lose a restarted broker at the same moment.

    Attributes:
        shortest_s: pause after the first failure.
        longest_s: bound on the pause.
    """

    shortest_s: float
    longest_s: float
    _failures: int = field(default=0, init=False)
    _refusals: int = field(default=0, init=False)

    def attempt_failed(self, error: BusError) -> bool:
        """Record the error of an attempt, and return whether the broker refuses this client permanently."""
        self._refusals = self._refusals + 1 if isinstance(error, AccessRefused) else 0
        return isinstance(error, AccessRefused) and (error.is_certain or self._refusals >= _HANG_UPS_THAT_REFUSE)

    def connection_ended(self, lasted_s: float) -> None:
        """Record that an attempt succeeded, and how long the connection lasted."""
        self._refusals = 0
        if lasted_s >= _STABLE_AFTER_S:
            self._failures = 0

    def next_pause_s(self, rng: random.Random) -> float:
        """Return the pause before the next attempt, and count it."""
        # The exponent is bounded: 2.0 ** 1024 overflows after a night without a broker.
        pause_s = min(self.longest_s, self.shortest_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return pause_s * rng.uniform(0.5, 1.0)
