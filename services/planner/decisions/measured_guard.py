"""Guard of reroutes: the measured latency after one is held against the latency before it and the prediction.

A prediction can be wrong: a profile does not hold under load, a queue is not in the model, an estimate was disturbed. A
reroute that has made the latency worse beyond noise is taken back. The cost of what only the new routes use is
corrected (`services.planner.problems.corrections`), so that the same reroute is not promised again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, quantiles

from planning.problem.problem import Problem
from services.planner.decisions.committed_routes import devices_of
from services.planner.problems.corrections import Part, device_part, link_part
from services.planner.problems.sharing import computed_shares
from shared.messages.streams import PlanRoute, hops

# Age from which measured latencies no longer tell how the routes before were.
RECENT_S = 15.0
# A reroute that has not been found worse by then stays.
TRIAL_S = 30.0
# Requests that are compared at least, before and after. The first ones after a reroute meet cold caches.
LEAST_BEFORE = 4
LEAST_AFTER = 8
_COLD = 2
# Relative loss that is noise, whatever a policy says.
LEAST_LOSS = 0.1
# Two predictions that differ by less belong to the same state of the fleet.
_SAME_STATE = 0.1
# Ratio of a measured to a predicted time from which a device explains the loss.
_EXPLAINS = 1.3
_MAX_KEPT = 128


@dataclass(frozen=True, slots=True)
class MeasuredLatency:
    """One request's latency, and what was predicted for its routes at that time."""

    at_s: float
    latency_ms: float
    predicted_ms: float


@dataclass(frozen=True, slots=True)
class RerouteTrial:
    """A reroute whose effect is being measured.

    Attributes:
        epoch: of the new routes.
        previous: the routes before.
        chosen: the new routes.
        before: latencies on the previous routes, oldest first.
        predicted_before_ms: of the previous routes, in the state that caused the reroute.
        predicted_after_ms: of the new routes, in that state.
        began_s: planner's clock at the commitment.
        after_ms: latencies on the new routes.
        device_ms: measured time of each device of the new routes, its queue included.
    """

    epoch: int
    previous: tuple[PlanRoute, ...]
    chosen: tuple[PlanRoute, ...]
    before: tuple[MeasuredLatency, ...]
    predicted_before_ms: float
    predicted_after_ms: float
    began_s: float
    after_ms: tuple[float, ...] = ()
    device_ms: Mapping[str, float] = field(default_factory=dict)

    def measured(self, latencies_ms: Sequence[float], device_ms: Mapping[str, float]) -> "RerouteTrial":
        """Return the trial with more requests on the new routes."""
        return replace(
            self, after_ms=(*self.after_ms, *latencies_ms)[:_MAX_KEPT], device_ms={**self.device_ms, **device_ms}
        )

    @property
    def expected_ms(self) -> tuple[float, ...]:
        """The latencies that requests would have now on the previous routes.

        Requests that were measured in the state that caused the reroute say it directly. If there are too few, earlier
        ones are scaled by what the state has changed in the prediction.
        """
        same = [
            each.latency_ms
            for each in self.before
            if abs(each.predicted_ms - self.predicted_before_ms) <= _SAME_STATE * self.predicted_before_ms
        ]
        if len(same) >= LEAST_BEFORE:
            return tuple(same)
        return tuple(each.latency_ms * self.predicted_before_ms / each.predicted_ms for each in self.before)


@dataclass(frozen=True, slots=True)
class TakeBack:
    """A reroute that made the latency worse.

    Attributes:
        routes: to which the stream returns.
        text: measured and predicted latencies, for people.
        corrections: factors on the cost of what only the new routes use.
    """

    routes: tuple[PlanRoute, ...]
    text: str
    corrections: Mapping[Part, float]


def recent(latencies: Sequence[MeasuredLatency], now_s: float) -> tuple[MeasuredLatency, ...]:
    """Return the latencies that still tell how the present routes are."""
    return tuple(each for each in latencies if now_s - each.at_s <= RECENT_S)[-_MAX_KEPT:]


def can_be_judged(before: Sequence[MeasuredLatency], predicted_before_ms: float, predicted_after_ms: float) -> bool:
    """Return whether enough was measured and predicted to judge a reroute."""
    return len(before) >= LEAST_BEFORE and predicted_before_ms > 0 and predicted_after_ms > 0


def judge(trial: RerouteTrial, problem: Problem, min_gain: float, now_s: float) -> TakeBack | RerouteTrial | None:
    """Return the consequence of what was measured so far; the trial itself if it goes on, None if the reroute stays.

    Worse beyond noise means: the lower quartile after is above the upper quartile that the previous routes would have,
    by more than `min_gain` and `LEAST_LOSS`. With 10 and 16 latencies whose means differ by 9 %, fewer than 1 in 500
    reroutes are called worse, at a noise of up to 30 %.

    Args:
        trial: with all measurements.
        problem: of the stream, in the present state.
        min_gain: of the policy.
        now_s: planner's clock.
    """
    after_ms = trial.after_ms[_COLD:]
    if len(after_ms) < LEAST_AFTER:
        return trial if now_s - trial.began_s <= TRIAL_S else None
    # The newest count: a queue that had built up before the reroute has gone by then.
    after_ms = after_ms[-2 * LEAST_AFTER :]
    expected_ms = trial.expected_ms
    before, after = median(expected_ms), median(after_ms)
    tolerated_ms = (1 + max(min_gain, LEAST_LOSS)) * quantiles(expected_ms, n=4)[2]
    if quantiles(after_ms, n=4)[0] <= tolerated_ms:
        return trial if now_s - trial.began_s <= TRIAL_S else None
    text = (
        f"measured {after:.0f} ms since the last reroute, against {before:.0f} ms before it and "
        f"{trial.predicted_after_ms:.0f} ms predicted: taken back"
    )
    return TakeBack(trial.previous, text, _corrections(trial, problem, before, after))


def _corrections(trial: RerouteTrial, problem: Problem, before_ms: float, after_ms: float) -> dict[Part, float]:
    """Return how much more the parts that only the new routes use cost than predicted.

    What the previous routes took beyond their prediction, the new ones may take as well. A device whose measured time
    explains the loss is corrected by it, else the links are, by the rest.
    """
    usual = max(1.0, before_ms / trial.predicted_before_ms)
    old = {*devices_of(trial.previous)}
    corrections: dict[Part, float] = {}
    for device in devices_of(trial.chosen):
        predicted_ms = _compute_ms(problem, trial.chosen, device)
        measured_ms = trial.device_ms.get(device, 0.0)
        if device not in old and predicted_ms > 0 and measured_ms / predicted_ms >= _EXPLAINS * usual:
            corrections[device_part(device)] = measured_ms / predicted_ms / usual
    if corrections:
        return corrections
    source = problem.streams[0].source
    old_links, new_links = _links(source, trial.previous), _links(source, trial.chosen)
    factor = after_ms / trial.predicted_after_ms / usual
    parts: list[Part] = [link_part(*ends) for ends in new_links if ends not in old_links]
    parts = parts or [device_part(device) for device in devices_of(trial.chosen) if device not in old]
    return dict.fromkeys(parts, factor) if factor > 1 else {}


def _links(source: str, routes: Sequence[PlanRoute]) -> set[tuple[str, str]]:
    """Return the links that feature maps take."""
    return {hop for route in routes for hop in hops(source, route.stages)}


def _compute_ms(problem: Problem, routes: Sequence[PlanRoute], device: str) -> float:
    """Return the predicted computing time of a device, the mean over the routes by their weight."""
    state = problem.devices.get(device)
    block_ms = None if state is None else state.block_ms.get(problem.streams[0].model)
    if state is None or block_ms is None:
        return 0.0
    total_ms = sum(
        route.weight * (share * sum(block_ms[stage.start : stage.stop]) + state.segment_overhead_ms)
        for route in routes
        for stage, name, share in computed_shares(route)
        if name == device
    )
    return state.load_factor * total_ms / sum(route.weight for route in routes)
