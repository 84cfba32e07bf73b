"""Which observations are worth a message: at high rates a monitor learns no more from every one of them. Pure."""

from dataclasses import dataclass, field

from shared.messages.devices import ComputeObservation, TransferObservation

INTERVAL_S = 0.025
"""Shortest time between two observations of the same kind: two of them, and a monitor follows a change."""
_MAX_KINDS = 256


@dataclass(slots=True)
class ObservationThrottle:
    """Lets through what is the first of its kind for a while.

    A kind is a segment, or a link and the magnitude of what crossed it: where small and large transfers take turns, a
    monitor needs both. What is overdue is always worth a message.
    """

    interval_s: float = INTERVAL_S
    _last_s: dict[tuple[object, ...], float] = field(default_factory=dict, init=False)

    def is_worth(self, observation: ComputeObservation | TransferObservation, now_s: float) -> bool:
        """Say whether to publish what was observed at `now_s` (monotonic seconds)."""
        if isinstance(observation, ComputeObservation):
            kind: tuple[object, ...] = (observation.model, observation.start, observation.stop)
        elif observation.finished:
            kind = (observation.target, observation.size_bytes.bit_length())
        else:
            return True
        last_s = self._last_s.get(kind)
        if last_s is not None and now_s - last_s < self.interval_s:
            return False
        if len(self._last_s) >= _MAX_KINDS:
            self._last_s.clear()
        self._last_s[kind] = now_s
        return True
