"""When a source leaves the committed route by itself, before the planner has heard of anything. Pure.

The planner says within which bandwidths and loads its plan stays the best (`Alternatives`); the source measures its own
transfers and its own computing. Two in a row that were too slow (or too fast) for the plan, beyond what noise adds, are
a crossing; so is one transfer that is overdue, since its link is at most as fast as it tells. One outlier is not, and
measurements that were taken at the same time count once, for the same hiccup may have met them all. The planner
confirms with its next plan; if none comes, the source goes back and trusts the plan until its next.

An alternative is the best if everything else is as it was. So where two thresholds seem to be crossed at a time and
lead to different routes the source stays until one of them is not, or the planner, which sees both, has decided.
"""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import assert_never

from shared.link_time import CONCLUSIVE_MS, CONFIRMATIONS, NOISE_MS, bandwidth_of_mbps, transmission_ms
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.devices import ComputeObservation, TransferObservation
from shared.messages.streams import CommittedPlan, PlanRoute, route_text

CONFIRM_S = 10.0
"""How long the planner may take to confirm, beyond the policy's cooldown; and how long a crossing counts."""


class _Side(Enum):
    BELOW = auto()
    ABOVE = auto()


@dataclass(frozen=True, slots=True)
class RouteSwitch:
    """Take these routes from the next request on; `text` says why."""

    routes: tuple[PlanRoute, ...]
    text: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one measurement says of a threshold.

    Attributes:
        side: beyond which end of the range it was; None if within.
        took_ms: how long the measurement lasted.
        text: what was seen of what.
        is_sure: it needs no second one.
        is_whole: it may also say that all is well again.
    """

    threshold: Threshold
    side: _Side | None
    took_ms: float
    text: str
    is_sure: bool = False
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class _Crossing:
    """Measurements in a row beyond one end of a range.

    Attributes:
        count: how many, of those that were taken at the same time one.
        counted_s: when the last of these was taken.
        seen_s: when any was seen last.
    """

    side: _Side
    route: PlanRoute | None
    count: int
    counted_s: float
    seen_s: float


_Key = tuple[ThresholdQuantity, str | None]


@dataclass(slots=True)
class RouteSwitcher:
    """The thresholds of the plan in force, and what a source's own measurements say of them."""

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
        """What requests shall take now."""
        if self._plan is None:
            return ()
        return self._plan.routes if self._chosen is None else (self._chosen,)

    def committed(self, plan: CommittedPlan, now_s: float) -> None:
        """Take a plan; of a new epoch, it ends whatever the source had decided by itself."""
        if self._plan is None or self._plan.epoch != plan.epoch:
            self._chosen, self._since_s, self._is_spent = None, now_s, False
            self._crossings.clear()
        self._plan = plan

    def learn(self, alternatives: Alternatives) -> None:
        """Take the thresholds of a plan."""
        self._known = alternatives

    def observed(self, seen: TransferObservation | ComputeObservation, now_s: float) -> RouteSwitch | None:
        """Take what this device has measured of itself."""
        match seen:
            case TransferObservation():
                return self.transferred(
                    seen.target, seen.size_bytes, seen.elapsed_ms, finished=seen.finished, now_s=now_s
                )
            case ComputeObservation():
                return self.computed(seen.measured_ms, seen.idle_ms, now_s=now_s)
            case _ as never:
                assert_never(never)

    def transferred(
        self, target: str, size_bytes: int, elapsed_ms: float, *, finished: bool, now_s: float
    ) -> RouteSwitch | None:
        """Take one transfer of this device: from the first byte to the receipt, or until it was overdue."""
        threshold = self._threshold(ThresholdQuantity.BANDWIDTH, target)
        if threshold is None or size_bytes <= 0:
            return None
        return self._take(_transfer_reading(threshold, size_bytes, elapsed_ms, finished), now_s)

    def computed(self, measured_ms: float, idle_ms: float, *, now_s: float) -> RouteSwitch | None:
        """Take one segment that this device has computed: what it took, encoding aside, and what it takes idle."""
        threshold = self._threshold(ThresholdQuantity.LOAD, None)
        if threshold is None or measured_ms <= 0 or idle_ms <= 0:
            return None
        return self._take(_compute_reading(threshold, measured_ms, idle_ms), now_s)

    def tick(self, now_s: float) -> RouteSwitch | None:
        """Go back if the planner has not confirmed in time."""
        if self._chosen is None or now_s < self._back_at_s:
            return None
        return self._return("the planner has not confirmed")

    def lost(self, device: str) -> RouteSwitch | None:
        """Go back if the route that the source has chosen leads over a device that is lost."""
        if self._chosen is None or device not in {stage.device for stage in self._chosen.stages}:
            return None
        return self._return(f"{device} is lost")

    def _take(self, reading: _Reading, now_s: float) -> RouteSwitch | None:
        threshold, side = reading.threshold, reading.side
        key = threshold.quantity, threshold.target
        if side is None:
            if reading.is_whole:
                self._crossings.pop(key, None)
            return None
        route = threshold.below if side is _Side.BELOW else threshold.above
        before = self._crossings.get(key)
        if before is None or before.side is not side:
            crossing = _Crossing(side, route, 1, now_s, now_s)
        elif now_s - reading.took_ms / 1000 < before.counted_s:
            crossing = replace(before, seen_s=now_s)
        else:
            crossing = _Crossing(side, route, before.count + 1, now_s, now_s)
        self._crossings[key] = crossing
        is_sure = reading.is_sure or crossing.count >= CONFIRMATIONS
        if route is None or not is_sure or not self._is_free(now_s) or self._is_disputed(crossing):
            return None
        self._chosen = route
        self._back_at_s = now_s + CONFIRM_S + self._cooldown_s
        is_worse = (side is _Side.BELOW) == (threshold.quantity is ThresholdQuantity.BANDWIDTH)
        limit = threshold.leave_below if side is _Side.BELOW else threshold.leave_above
        text = f"{reading.text}, {'worse' if is_worse else 'better'} than {limit:.3g}: switched to {route_text(route)}"
        return RouteSwitch((route,), text)

    def _return(self, reason: str) -> RouteSwitch:
        chosen, self._chosen, self._is_spent = self._chosen, None, True
        self._crossings.clear()
        return RouteSwitch(self.routes, f"{reason}: back from {route_text(chosen) if chosen else ''} to the plan")

    @property
    def _cooldown_s(self) -> float:
        return self._known.cooldown_ms / 1000 if self._known else 0.0

    def _is_free(self, now_s: float) -> bool:
        """Say whether the source may decide: once per plan, and not within the policy's cooldown."""
        return not self._is_spent and self._chosen is None and now_s >= self._since_s + self._cooldown_s

    def _is_disputed(self, crossing: _Crossing) -> bool:
        """Say whether another threshold is, or may be, crossed as well and leads elsewhere."""
        return any(
            other.route != crossing.route and crossing.seen_s - other.seen_s < CONFIRM_S
            for other in self._crossings.values()
        )

    def _threshold(self, quantity: ThresholdQuantity, target: str | None) -> Threshold | None:
        if self._known is None or self._plan is None or self._known.epoch != self._plan.epoch:
            return None
        for each in self._known.thresholds:
            if (each.quantity, each.device, each.target) == (quantity, self.device, target):
                return each
        return None


def _transfer_reading(threshold: Threshold, size_bytes: int, elapsed_ms: float, finished: bool) -> _Reading:
    """Judge a transfer; one that is overdue can only be slow."""
    on_link_ms = max(elapsed_ms - threshold.latency_ms, elapsed_ms / 10)
    low, high = threshold.leave_below, threshold.leave_above
    side = None
    if low is not None and on_link_ms > transmission_ms(size_bytes, low) + NOISE_MS:
        side = _Side.BELOW
    elif finished and high is not None and on_link_ms < transmission_ms(size_bytes, high) - NOISE_MS:
        side = _Side.ABOVE
    mbps = bandwidth_of_mbps(size_bytes, on_link_ms)
    text = f"link {threshold.device}->{threshold.target} has {'' if finished else 'less than '}{mbps:.3g} Mbps"
    is_sure = not finished and transmission_ms(size_bytes, threshold.value) >= CONCLUSIVE_MS
    return _Reading(threshold, side, elapsed_ms, text, is_sure=is_sure, is_whole=finished)


def _compute_reading(threshold: Threshold, measured_ms: float, idle_ms: float) -> _Reading:
    """Judge a segment; what other streams compute in between counts as load, but is not in its time."""
    shared_ms = measured_ms * threshold.sharing
    low, high = threshold.leave_below, threshold.leave_above
    side = None
    if high is not None and shared_ms > high * idle_ms + NOISE_MS:
        side = _Side.ABOVE
    elif low is not None and shared_ms < low * idle_ms - NOISE_MS:
        side = _Side.BELOW
    return _Reading(threshold, side, measured_ms, f"load factor of {threshold.device} is {shared_ms / idle_ms:.3g}")
