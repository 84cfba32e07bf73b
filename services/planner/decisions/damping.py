"""Route flap damping: each return to routes that were left lately doubles the gain that a reroute must promise.

Compare RFC 2439, section 4. There a penalty decays; here a return counts fully until it is out of the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.planner.decisions.committed_routes import same_routes
from shared.messages.streams import PlanRoute
from shared.policy import Policy

# Time for which routes that were left are remembered.
DAMPING_WINDOW_S = 60.0
# Bound on the required gain: damping never prevents a reroute that saves more than a third of the cost.
LARGEST_REQUIRED_GAIN = 0.5
# Gain from which damping doubles if the policy's own is smaller: doubling 0 would damp nothing.
LEAST_DAMPED_GAIN = 0.01


@dataclass(frozen=True, slots=True)
class Departure:
    """Routes that were left, the time, and whether the reroute led back to routes left within the window."""

    at_s: float
    routes: tuple[PlanRoute, ...]
    returned: bool


def required_gain(policy: Policy, routes: Sequence[PlanRoute], departures: Sequence[Departure], now_s: float) -> float:
    """Return the relative gain (0.05 for 5 %) that a reroute to ``routes`` must promise."""
    returns = sum(departure.returned for departure in recent(departures, now_s))
    doublings = returns + is_return(routes, departures, now_s)
    if not doublings:
        return policy.min_gain
    damped = max(policy.min_gain, LEAST_DAMPED_GAIN) * 2.0**doublings
    return max(policy.min_gain, min(LARGEST_REQUIRED_GAIN, damped))


def is_return(routes: Sequence[PlanRoute], departures: Sequence[Departure], now_s: float) -> bool:
    """Return whether ``routes`` were left within the damping window."""
    return any(
        now_s - departure.at_s <= DAMPING_WINDOW_S and same_routes(departure.routes, routes) for departure in departures
    )


def recent(departures: Sequence[Departure], now_s: float) -> tuple[Departure, ...]:
    """Return the departures within the damping window."""
    return tuple(departure for departure in departures if now_s - departure.at_s <= DAMPING_WINDOW_S)


def remember(departures: Sequence[Departure], departure: Departure) -> tuple[Departure, ...]:
    """Return the departures within the damping window, the new one last."""
    return (*recent(departures, departure.at_s), departure)


def last_departure_s(departures: Sequence[Departure]) -> float:
    """Return the time of the last departure; minus infinity if there is none."""
    return departures[-1].at_s if departures else float("-inf")
