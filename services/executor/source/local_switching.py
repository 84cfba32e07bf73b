"""Source-side switching: a source leaves the committed route by itself when its own measurements cross a threshold.

A source reacts within two requests. The planner reacts after monitors have smoothed their measurements and a new plan
is prepared. Switching at the source also works while the planner is gone.

With each plan the planner publishes `Alternatives`. These are the ranges of bandwidth and load within which the plan
stays best, and the best route beyond each end. The source compares its own transfers and computing times with them. A
range is left if its end is exceeded by more than noise

- in `CONFIRMATIONS` measurements in a row, or in `WEAK_CONFIRMATIONS` transfers that prove little each. Measurements
  that overlap in time count as one, because one disturbance may have delayed them all; or
- by one overdue transfer that should take at least `CONCLUSIVE_MS`. Its size and the time so far bound the bandwidth
  from above.

The source then takes the alternative, with three exceptions:

- It has switched during this plan already.
- The policy's cooldown since the plan has not passed.
- Another threshold is crossed as well and leads elsewhere. An alternative is best only if everything else is unchanged,
  so this case is left to the planner, which gets all measurements.

The next plan replaces the source's choice. If none comes within `CONFIRM_S` and the cooldown, or a device of the
alternative is lost, the source returns to the committed routes. It stays there until the next plan.
"""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import assert_never

from services.executor.source.device_presence import stage_devices
from shared.link_time import (
    CONCLUSIVE_MS,
    CONFIRMATIONS,
    MUCH_FASTER,
    NOISE_MS,
    WEAK_CONFIRMATIONS,
    bandwidth_of_mbps,
    proves_little,
    transmission_ms,
)
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.devices import ComputeObservation, TransferObservation
from shared.messages.streams import CommittedPlan, PlanRoute, route_text

# Time for the planner to confirm a switch, beyond the policy's cooldown. A crossing expires after the same time.
CONFIRM_S = 10.0


class _Side(Enum):
    BELOW = auto()
    ABOVE = auto()


@dataclass(frozen=True, slots=True)
class RouteSwitch:
    """Routes for the next requests, and the reason for people."""

    routes: tuple[PlanRoute, ...]
    text: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """One measurement compared with a threshold.

    Attributes:
        threshold: the threshold.
        side: the end of the range beyond which the measurement lies; None if it lies within.
        took_ms: duration of the measurement.
        text: the measured quantity and its value.
        is_conclusive: whether it needs no confirmation by a second one.
        is_complete: whether it may end a crossing; an overdue transfer, still under way, may not.
        confirmations: how many like it, in a row, are needed.
    """

    threshold: Threshold
    side: _Side | None
    took_ms: float
    text: str
    is_conclusive: bool = False
    is_complete: bool = True
    confirmations: int = CONFIRMATIONS


@dataclass(frozen=True, slots=True)
class _Crossing:
    """Measurements in a row beyond one end of a range.

    Attributes:
        side: the end of the range.
        route: the route beyond it; None if the planner gave none.
        count: number of measurements, those that overlap in time counted once.
        counted_s: when the last counted measurement was taken.
        seen_s: when the last measurement was taken.
    """

    side: _Side
    route: PlanRoute | None
    count: int
    counted_s: float
    seen_s: float


_Key = tuple[ThresholdQuantity, str | None]


@dataclass(slots=True)
class RouteSwitcher:
    """Thresholds of the plan in force, and the crossings that the source has measured; `SourceState` feeds it.

    Invariant: `_chosen` is None, or the route of a crossing during the plan in force. `_is_spent` is set once the
    source has returned from such a route, and ends switching until the next plan.

    Attributes:
        device: name of the source device, whose measurements count.
    """

    device: str
    _plan: CommittedPlan | None = field(default=None, init=False)
    _since_s: float = field(default=0.0, init=False)
    _known: Alternatives | None = field(default=None, init=False)
    _chosen: PlanRoute | None = field(default=None, init=False)
    _back_at_s: float = field(default=0.0, init=False)
    _is_spent: bool = field(default=False, init=False)
    _crossings: dict[_Key, _Crossing] = field(default_factory=dict, init=False)

    @property
    def routes(self) -> tuple[PlanRoute, ...]:
        """Routes of the next requests."""
        if self._plan is None:
            return ()
        return self._plan.routes if self._chosen is None else (self._chosen,)

    def committed(self, plan: CommittedPlan, now_s: float) -> None:
        """Put a plan in force; one of a new epoch ends the source's own choice."""
        if self._plan is None or self._plan.epoch != plan.epoch:
            self._chosen, self._since_s, self._is_spent = None, now_s, False
            self._crossings.clear()
        self._plan = plan

    def learn(self, alternatives: Alternatives) -> None:
        """Store the thresholds of a plan."""
        self._known = alternatives

    def observed(self, seen: TransferObservation | ComputeObservation, now_s: float) -> RouteSwitch | None:
        """Compare a measurement of this device with the thresholds; return the switch that it causes."""
        match seen:
            case TransferObservation():
                return self.transferred(
                    seen.target,
                    seen.size_bytes,
                    seen.elapsed_ms,
                    finished=seen.finished,
                    now_s=now_s,
                    processing_ms=seen.processing_ms,
                )
            case ComputeObservation():
                return self.computed(seen.measured_ms, seen.idle_ms, now_s=now_s)
            case _ as never:
                assert_never(never)

    def transferred(
        self,
        target: str,
        size_bytes: int,
        elapsed_ms: float,
        *,
        finished: bool,
        now_s: float,
        processing_ms: float = 0.0,
    ) -> RouteSwitch | None:
        """Compare a transfer, from the first byte to the receipt or until it was overdue, with its link's threshold.

        Its processing time is load at one of its ends, and no reason to leave the link.
        """
        threshold = self._threshold(ThresholdQuantity.BANDWIDTH, target)
        if threshold is None or size_bytes <= 0:
            return None
        return self._take(_transfer_reading(threshold, size_bytes, elapsed_ms, processing_ms, finished), now_s)

    def computed(self, measured_ms: float, idle_ms: float, *, now_s: float) -> RouteSwitch | None:
        """Compare a segment's computing time, codecs excluded, and its idle time with the load threshold."""
        threshold = self._threshold(ThresholdQuantity.LOAD, None)
        if threshold is None or measured_ms <= 0 or idle_ms <= 0:
            return None
        return self._take(_compute_reading(threshold, measured_ms, idle_ms), now_s)

    def tick(self, now_s: float) -> RouteSwitch | None:
        """Return to the plan if the planner has not confirmed the switch in time."""
        if self._chosen is None or now_s < self._back_at_s:
            return None
        return self._return("the planner has not confirmed")

    def lost(self, device: str) -> RouteSwitch | None:
        """Return to the plan if a device of the chosen route is lost."""
        if self._chosen is None or device not in stage_devices(self._chosen):
            return None
        return self._return(f"{device} is lost")

    def _take(self, reading: _Reading, now_s: float) -> RouteSwitch | None:
        threshold, side = reading.threshold, reading.side
        key = threshold.quantity, threshold.target
        if side is None:
            # Within the range: the measurements in a row end here.
            if reading.is_complete:
                self._crossings.pop(key, None)
            return None
        route = threshold.below if side is _Side.BELOW else threshold.above
        before = self._crossings.get(key)
        if before is None or before.side is not side:
            crossing = _Crossing(side, route, 1, now_s, now_s)
        elif now_s - reading.took_ms / 1000 < before.counted_s:
            # It began before the last counted one ended, so one disturbance may have delayed both.
            crossing = replace(before, seen_s=now_s)
        else:
            crossing = _Crossing(side, route, before.count + 1, now_s, now_s)
        self._crossings[key] = crossing
        is_confirmed = reading.is_conclusive or crossing.count >= reading.confirmations
        if route is None or not is_confirmed or not self._is_free(now_s) or self._is_disputed(crossing):
            return None
        # The planner needs its own measurements, a plan and a cooldown; until then the choice stays.
        self._chosen = route
        self._back_at_s = now_s + CONFIRM_S + self._cooldown_s
        is_worse = (side is _Side.BELOW) == (threshold.quantity is ThresholdQuantity.BANDWIDTH)
        limit = threshold.leave_below if side is _Side.BELOW else threshold.leave_above
        text = f"{reading.text}, {'worse' if is_worse else 'better'} than {limit:.3g}: switched to {route_text(route)}"
        return RouteSwitch((route,), text)

    def _return(self, reason: str) -> RouteSwitch:
        # Spent: measurements on the committed route would only cause the same switch again.
        chosen, self._chosen, self._is_spent = self._chosen, None, True
        self._crossings.clear()
        return RouteSwitch(self.routes, f"{reason}: back from {route_text(chosen) if chosen else ''} to the plan")

    @property
    def _cooldown_s(self) -> float:
        return self._known.cooldown_ms / 1000 if self._known else 0.0

    def _is_free(self, now_s: float) -> bool:
        """Return whether the source may switch: once per plan, and after the policy's cooldown."""
        return not self._is_spent and self._chosen is None and now_s >= self._since_s + self._cooldown_s

    def _is_disputed(self, crossing: _Crossing) -> bool:
        """Return whether a recent measurement beyond another threshold leads to another route."""
        return any(
            other.route != crossing.route and crossing.seen_s - other.seen_s < CONFIRM_S
            for other in self._crossings.values()
        )

    def _threshold(self, quantity: ThresholdQuantity, target: str | None) -> Threshold | None:
        # Plan and thresholds are two retained messages: those of different epochs must not be compared.
        if self._known is None or self._plan is None or self._known.epoch != self._plan.epoch:
            return None
        for threshold in self._known.thresholds:
            if (threshold.quantity, threshold.device, threshold.target) == (quantity, self.device, target):
                return threshold
        return None


def _transfer_reading(
    threshold: Threshold, size_bytes: int, elapsed_ms: float, processing_ms: float, finished: bool
) -> _Reading:
    """Return the reading of a transfer; an overdue one can only be too slow."""
    # A time below the link's latency is jitter; a tenth of it keeps the bandwidth finite.
    on_link_ms = max(elapsed_ms - threshold.latency_ms, elapsed_ms / 10)
    undelayed_ms = max(on_link_ms - processing_ms, (elapsed_ms - processing_ms) / 10)
    low, high = threshold.leave_below, threshold.leave_above
    side = None
    if low is not None and undelayed_ms > transmission_ms(size_bytes, low) + NOISE_MS:
        side, on_link_ms = _Side.BELOW, undelayed_ms
    elif finished and high is not None and on_link_ms < transmission_ms(size_bytes, high) - NOISE_MS:
        side = _Side.ABOVE
    mbps = bandwidth_of_mbps(size_bytes, on_link_ms)
    text = f"link {threshold.device}->{threshold.target} has {'' if finished else 'less than '}{mbps:.3g} Mbps"
    # A short transfer may be overdue because of a single disturbance.
    is_conclusive = not finished and transmission_ms(size_bytes, threshold.value) >= CONCLUSIVE_MS
    is_burst = side is _Side.ABOVE and mbps > MUCH_FASTER * threshold.value
    is_weak = is_burst or proves_little(size_bytes, threshold.value)
    return _Reading(
        threshold,
        side,
        elapsed_ms,
        text,
        is_conclusive=is_conclusive,
        is_complete=finished,
        confirmations=WEAK_CONFIRMATIONS if is_weak else CONFIRMATIONS,
    )


def _compute_reading(threshold: Threshold, measured_ms: float, idle_ms: float) -> _Reading:
    """Return the reading of a segment.

    Computing of other streams counts as load, but is not part of the segment's own time: `sharing` adds it.
    """
    shared_ms = measured_ms * threshold.sharing
    low, high = threshold.leave_below, threshold.leave_above
    side = None
    if high is not None and shared_ms > high * idle_ms + NOISE_MS:
        side = _Side.ABOVE
    elif low is not None and shared_ms < low * idle_ms - NOISE_MS:
        side = _Side.BELOW
    return _Reading(threshold, side, measured_ms, f"load factor of {threshold.device} is {shared_ms / idle_ms:.3g}")
