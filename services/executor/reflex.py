"""When a source leaves the committed route by itself, before the planner has heard of anything. Pure.

The planner says within which bandwidths its plan stays the best (`Alternatives`); the source measures its own
transfers. Two in a row that were too slow (or too fast) for the plan, beyond what noise adds, are a crossing; so is one
that is overdue, since its link is at most as fast as it tells. One outlier is not. The planner confirms with its next
plan; if none comes, the source goes back and trusts the plan until its next.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from shared.messages.alternatives import Alternatives, Quantity, Threshold
from shared.messages.streams import CommittedPlan, PlanRoute

CONFIRM_S = 10.0
"""How long the planner may take to confirm, beyond the policy's cooldown."""
NOISE_MS = 1.5
"""What scheduling and the broker add or take; as in the monitor's estimates."""
PATIENCE = 2
"""Transfers in a row that must agree; as in the monitor's estimates."""
TELLING_MS = 10 * NOISE_MS
"""An overdue transfer that should have taken less may only have met a hiccup."""


class _Side(Enum):
    BELOW = auto()
    ABOVE = auto()


@dataclass(frozen=True, slots=True)
class Switch:
    """Take these routes from the next request on; `text` says why."""

    routes: tuple[PlanRoute, ...]
    text: str


@dataclass(slots=True)
class Reflex:
    """The thresholds of the plan in force, and what a source's transfers say of them."""

    device: str
    _plan: CommittedPlan | None = field(default=None, init=False)
    _since_s: float = field(default=0.0, init=False)
    _known: Alternatives | None = field(default=None, init=False)
    _chosen: PlanRoute | None = field(default=None, init=False)
    _back_at_s: float = field(default=0.0, init=False)
    _is_spent: bool = field(default=False, init=False)
    _crossings: dict[str, tuple[_Side, int]] = field(default_factory=dict, init=False)

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

    def transferred(
        self, target: str, size_bytes: int, elapsed_ms: float, *, finished: bool, now_s: float
    ) -> Switch | None:
        """Take one transfer of this device: from the first byte to the receipt, or until it was overdue."""
        threshold = self._threshold(target)
        if threshold is None or self._plan is None or size_bytes <= 0:
            return None
        on_link_ms = max(elapsed_ms - threshold.latency_ms, elapsed_ms / 10)
        side = _side(threshold, size_bytes, on_link_ms, finished)
        if side is None:
            if finished:
                self._crossings.pop(target, None)
            return None
        before, count = self._crossings.get(target, (side, 0))
        count = count + 1 if before is side else 1
        self._crossings[target] = (side, count)
        is_sure = not finished and _ms(size_bytes, threshold.value) >= TELLING_MS
        route = threshold.below if side is _Side.BELOW else threshold.above
        if route is None or (count < PATIENCE and not is_sure) or not self._is_free(now_s):
            return None
        self._chosen = route
        self._back_at_s = now_s + CONFIRM_S + (self._known.cooldown_ms / 1000 if self._known else 0.0)
        mbps = 8 * size_bytes / (1000 * on_link_ms)
        seen = f"{mbps:.3g} Mbps" if finished else f"less than {mbps:.3g} Mbps"
        limit = threshold.leave_below if side is _Side.BELOW else threshold.leave_above
        than = "worse" if side is _Side.BELOW else "better"
        text = f"link {self.device}->{target} has {seen}, {than} than {limit:.3g}: switched to {_text(route)}"
        return Switch((route,), text)

    def tick(self, now_s: float) -> Switch | None:
        """Go back if the planner has not confirmed in time."""
        if self._chosen is None or now_s < self._back_at_s:
            return None
        return self._return("the planner has not confirmed")

    def lost(self, device: str) -> Switch | None:
        """Go back if the route that the source has chosen leads over a device that is lost."""
        if self._chosen is None or device not in {stage.device for stage in self._chosen.stages}:
            return None
        return self._return(f"{device} is lost")

    def _return(self, reason: str) -> Switch:
        chosen, self._chosen, self._is_spent = self._chosen, None, True
        self._crossings.clear()
        return Switch(self.routes, f"{reason}: back from {_text(chosen) if chosen else ''} to the plan")

    def _is_free(self, now_s: float) -> bool:
        """Say whether the source may decide: once per plan, and not within the policy's cooldown."""
        cooldown_s = self._known.cooldown_ms / 1000 if self._known else 0.0
        return not self._is_spent and self._chosen is None and now_s >= self._since_s + cooldown_s

    def _threshold(self, target: str) -> Threshold | None:
        if self._known is None or self._plan is None or self._known.epoch != self._plan.epoch:
            return None
        for each in self._known.thresholds:
            if (each.quantity, each.device, each.target) == (Quantity.BANDWIDTH, self.device, target):
                return each
        return None


def _side(threshold: Threshold, size_bytes: int, on_link_ms: float, finished: bool) -> _Side | None:
    """Say beyond which end of the range a transfer was, more than noise explains; an overdue one can only be slow."""
    low, high = threshold.leave_below, threshold.leave_above
    if low is not None and on_link_ms > _ms(size_bytes, low) + NOISE_MS:
        return _Side.BELOW
    if finished and high is not None and on_link_ms < _ms(size_bytes, high) - NOISE_MS:
        return _Side.ABOVE
    return None


def _ms(size_bytes: int, mbps: float) -> float:
    return 8 * size_bytes / (1000 * mbps)


def _text(route: PlanRoute) -> str:
    return " > ".join(f"{stage.device}[{stage.start},{stage.stop})" for stage in route.stages)
