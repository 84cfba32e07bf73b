"""Comparisons and simulations as JSON values."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from planning.problem.plan import Constraint, Infeasible, Plan
from services.cli.render.route_text import planned_route_text

if TYPE_CHECKING:
    from planning.sensitivity.comparison import Binding, Change
    from planning.simulation.simulation import Timeline

PERCENTILES: Final = (50, 95, 99)


def best_bound(answers: Mapping[str, Plan | Infeasible]) -> float | None:
    """Return the largest proved lower bound of the cost; None if none is proved."""
    bounds = [plan.lower_bound for plan in answers.values() if isinstance(plan, Plan) and plan.lower_bound is not None]
    return max(bounds, default=None)


def gap(cost: float, bound: float | None) -> float | None:
    """Return (cost - bound) / bound, at least 0; None without a positive bound."""
    return None if bound is None or bound <= 0 else max(0.0, cost / bound - 1)


def applies(answer: Plan | Infeasible) -> bool:
    """Return whether a strategy supports this kind of problem."""
    return isinstance(answer, Plan) or any(
        violation.constraint is not Constraint.SUPPORT for violation in answer.reasons
    )


def comparison_values(answers: Mapping[str, Plan | Infeasible]) -> dict[str, Any]:
    """Return the answer of every strategy with its gap to the best bound."""
    # `segue plan` prints tables with functions of this module, and writes no document.
    from planning.files.plan_file import answer_values

    bound = best_bound(answers)
    rows = []
    for name, answer in answers.items():
        values = {**answer_values(answer), "winner": answer.strategy, "strategy": name}
        values["gap"] = gap(answer.cost, bound) if isinstance(answer, Plan) else None
        rows.append(values)
    return {"lower_bound": bound, "strategies": rows}


def decision_values(binding: "Sequence[Binding]", overturning: "Mapping[str, Sequence[Change]]") -> dict[str, Any]:
    """Return the cost of the binding constraints, and the changes that make another route the fastest."""
    return {
        "binding": [{"constraint": entry.constraint.value, "cost_without": entry.cost} for entry in binding],
        "changes": {
            name: [
                {
                    "quantity": change.quantity,
                    "value": change.value,
                    "low": change.low,
                    "high": change.high,
                    "below": None if change.below is None else planned_route_text(change.below),
                    "above": None if change.above is None else planned_route_text(change.above),
                }
                for change in entries
            ]
            for name, entries in overturning.items()
        },
    }


def simulation_values(timeline: "Timeline") -> dict[str, Any]:
    """Return the figures of a simulation. Requests are in order of arrival; times of unfinished ones are None."""
    late = sum(request.late for request in timeline.requests)
    span_ms = max((activity.end_ms for activity in timeline.activities), default=0.0)
    return {
        "requests": len(timeline.requests),
        "unfinished": sum(not request.finished for request in timeline.requests),
        "late": late,
        "late_by_ms": _finite(max((request.lateness_ms for request in timeline.requests), default=0.0)),
        "makespan_ms": _finite(timeline.makespan_ms),
        "throughput_hz": timeline.throughput_hz,
        "latency_ms": _latencies(timeline),
        "total_delay_ms": _finite(timeline.total_delay_ms),
        "delay_variance_ms2": _finite(timeline.delay_variance_ms2),
        "devices": [
            {"device": device, "work": work.value, "busy_ms": busy_ms, "share": _share(busy_ms, span_ms)}
            for (device, work), busy_ms in sorted(timeline.busy_ms().items())
        ],
        "links": [
            {"from": sender, "to": receiver, "busy_ms": busy_ms, "share": _share(busy_ms, span_ms)}
            for (sender, receiver), busy_ms in sorted(timeline.link_ms().items())
        ],
        "timeline": [
            {
                "stream": request.stream,
                "request": request.request,
                "arrival_ms": request.arrival_ms,
                "end_ms": _finite(request.end_ms),
                "latency_ms": _finite(request.latency_ms),
                "waited_ms": request.waited_ms,
                "computed_ms": request.computed_ms,
                "sent_ms": request.sent_ms,
            }
            for request in timeline.requests
        ],
    }


def _latencies(timeline: "Timeline") -> dict[str, float | None]:
    """Return mean, percentiles and largest latency in ms; empty without requests."""
    if not timeline.requests:
        return {}
    return {
        "mean": _finite(timeline.total_delay_ms / len(timeline.requests)),
        **{f"p{percent}": _finite(timeline.latency_percentile_ms(percent)) for percent in PERCENTILES},
        "max": _finite(timeline.latency_percentile_ms(100)),
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _share(busy_ms: float, span_ms: float) -> float:
    return busy_ms / span_ms if span_ms > 0 else 0.0
