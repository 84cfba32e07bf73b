"""From the record of a run to what is told of it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.cli.render.fleet_view import is_encoded, latency_ms
from services.cli.testbed.baselines import Alternative, baselines, predict_ms
from services.cli.testbed.conditions import route_text
from services.cli.testbed.run_record import CollectorCounts, PhaseRecord, RequestRecord, RunRecord
from services.planner.problems.allowed_encodings import DEFAULT_TOP1_AGREEMENT
from shared.messages.events import Reroute, RerouteCause
from shared.messages.requests import Outcome, OutcomeStatus
from shared.policy import CodecMode, Policy

_LAST = 10
"""Requests before a reroute whose median is the latency before, where none ended between trigger and reroute."""


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Percentiles of measured latencies, from acceptance at the source to the result, in ms; None without requests."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class RerouteSummary:
    """One change of route.

    Attributes:
        phase: in which it was committed.
        predicted_ms: predicted latency in the new state on the old route (None: it cannot run any more), on the new.
        measured_ms: median measured latency on the old route since the state changed, and on the new route.
        reaction_ms: from the monitor's message to the first request on the new route.
    """

    phase: str
    cause: RerouteCause
    reason: str
    previous: str
    chosen: str
    predicted_ms: tuple[float | None, float | None]
    measured_ms: tuple[float | None, float | None]
    reaction_ms: float | None


@dataclass(frozen=True, slots=True)
class PhaseSummary:
    """One phase.

    Attributes:
        route: at the end of the phase.
        latency: of the requests that were accepted in it.
        settled: of those that were accepted after its last reroute.
        predicted_ms: predicted latency of `route` under the phase's true conditions.
        single: the best single device, chosen in hindsight for this phase; predicted.
        fixed: the one plan that is best over all phases, of those that can always run; predicted.
        held: the plan of the first phase, never changed; predicted.
    """

    name: str
    condition: str
    requests: int
    route: str
    latency: LatencySummary
    settled: LatencySummary
    predicted_ms: float | None
    single: Alternative | None
    fixed: Alternative | None
    held: Alternative | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What is told of a run.

    Attributes:
        lost: requests without an outcome.
        duplicates: outcomes that the collector saw for requests that had another one already; it keeps the first.
        mismatches: results that differ from the whole model's.
        encoded: results whose feature maps travelled in a lossy encoding; they differ if their best class does.
        encoded_mismatches: those of `mismatches` that are among them.
        problems: empty for a run in which all went as it should.
    """

    requests: int
    results: int
    errors: int
    lost: int
    duplicates: int
    mismatches: int
    encoded: int
    encoded_mismatches: int
    latency: LatencySummary
    phases: tuple[PhaseSummary, ...]
    reroutes: tuple[RerouteSummary, ...]
    input_bytes: int | None
    problems: tuple[str, ...]


def summarise(record: RunRecord) -> Summary:
    """Sum up a run."""
    outcomes = [request.outcome for request in record.requests if request.outcome is not None]
    results = [outcome for outcome in outcomes if outcome.status is OutcomeStatus.OK]
    reroutes = tuple(each for each in record.reroutes if each.cause is not RerouteCause.FIRST_PLAN)
    seen = record.collector or CollectorCounts(stored=0)
    return Summary(
        requests=len(record.requests),
        results=len(results),
        errors=len(outcomes) - len(results),
        lost=len(record.requests) - len(outcomes),
        duplicates=seen.computed_twice + seen.contradicted,
        mismatches=sum(request.mismatch for request in record.requests),
        encoded=sum(is_encoded(outcome) for outcome in results),
        encoded_mismatches=sum(_differs_encoded(request) for request in record.requests),
        latency=_latency(results),
        phases=_phases(record),
        reroutes=tuple(_reroute(each, record) for each in reroutes),
        input_bytes=None if record.ground is None else record.ground.input_bytes,
        problems=tuple(_problems(record, reroutes, outcomes)),
    )


def to_document(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values, with the keys of the design (section 8)."""
    return {
        "requests": summary.requests,
        "results": summary.results,
        "errors": summary.errors,
        "lost": summary.lost,
        "duplicates": summary.duplicates,
        "mismatches": summary.mismatches,
        "encoded": summary.encoded,
        "encoded_mismatches": summary.encoded_mismatches,
        "latency_ms": _latency_document(summary.latency),
        "phases": [_phase_document(phase) for phase in summary.phases],
        "reroutes": [_reroute_document(reroute) for reroute in summary.reroutes],
        "input_bytes": summary.input_bytes,
        "problems": list(summary.problems),
    }


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """Return the value below which `fraction` of the values lie (nearest rank); None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def _latency(results: Iterable[Outcome]) -> LatencySummary:
    values = [latency_ms(outcome) for outcome in results]
    return LatencySummary(percentile(values, 0.5), percentile(values, 0.95))


def _phases(record: RunRecord) -> tuple[PhaseSummary, ...]:
    ground, conditions = record.ground, [phase.conditions for phase in record.phases]
    other = None if ground is None else baselines(ground, conditions)
    first = _plan_at(record.reroutes, record.phases[0].ended_at_s) if record.phases else None
    summaries: list[PhaseSummary] = []
    for index, phase in enumerate(record.phases):
        accepted = _results(record.requests, phase.started_at_s, phase.ended_at_s)
        plan = _plan_at(record.reroutes, phase.ended_at_s)
        since_s = phase.started_at_s if plan is None else max(phase.started_at_s, plan.committed_at_s)
        summaries.append(
            PhaseSummary(
                name=phase.name,
                condition=phase.condition,
                requests=sum(phase.started_at_s <= r.submitted_at_s < phase.ended_at_s for r in record.requests),
                route="" if plan is None else route_text(plan.chosen),
                latency=_latency(accepted),
                settled=_latency(outcome for outcome in accepted if outcome.accepted_at_s >= since_s),
                predicted_ms=_predicted_ms(record, phase, plan),
                single=None if other is None else other.single[index],
                fixed=None if other is None else other.fixed[index],
                held=None
                if first is None
                else Alternative(route_text(first.chosen), _predicted_ms(record, phase, first)),
            )
        )
    return tuple(summaries)


def _predicted_ms(record: RunRecord, phase: PhaseRecord, plan: Reroute | None) -> float | None:
    if record.ground is None or plan is None:
        return None
    weights, total = 0, 0.0
    for route in plan.chosen:
        latency = predict_ms(record.ground, phase.conditions, route)
        if latency is None:
            return None
        weights, total = weights + route.weight, total + route.weight * latency
    return total / weights if weights else None


def _plan_at(reroutes: Iterable[Reroute], at_s: float) -> Reroute | None:
    """Return the last plan that was committed before `at_s`."""
    return max((each for each in reroutes if each.committed_at_s < at_s), key=lambda each: each.epoch, default=None)


def _results(requests: Iterable[RequestRecord], start_s: float, stop_s: float) -> list[Outcome]:
    """Return the results that were accepted within `[start_s, stop_s)`."""
    return [
        request.outcome
        for request in requests
        if request.outcome is not None
        and request.outcome.status is OutcomeStatus.OK
        and start_s <= request.outcome.accepted_at_s < stop_s
    ]


def _reroute(reroute: Reroute, record: RunRecord) -> RerouteSummary:
    phase = next((p for p in record.phases if p.started_at_s <= reroute.committed_at_s < p.ended_at_s), None)
    results = _results(record.requests, 0.0, float("inf"))
    new = [outcome for outcome in results if outcome.epoch == reroute.epoch]
    old = [outcome for outcome in results if outcome.epoch < reroute.epoch]
    since_s = reroute.trigger_at_s if phase is None else min(phase.started_at_s, reroute.trigger_at_s)
    affected = [outcome for outcome in old if outcome.completed_at_s >= since_s]
    first_s = min((outcome.dispatched_at_s for outcome in new), default=None)
    return RerouteSummary(
        phase="" if phase is None else phase.name,
        cause=reroute.cause,
        reason=reroute.reason,
        previous=route_text(reroute.previous),
        chosen=route_text(reroute.chosen),
        predicted_ms=(reroute.predicted_before, reroute.predicted_after),
        measured_ms=(_latency(affected or old[-_LAST:]).p50, _latency(new).p50),
        reaction_ms=None if first_s is None else 1000 * (first_s - reroute.trigger_at_s),
    )


def _problems(record: RunRecord, reroutes: Sequence[Reroute], outcomes: Sequence[Outcome]) -> Iterable[str]:
    yield from record.notes
    if not record.requests:
        yield "no request was submitted"
    lost = len(record.requests) - len(outcomes)
    if lost:
        yield f"{lost} of {len(record.requests)} requests have no outcome"
    mismatches = sum(request.mismatch and not _differs_encoded(request) for request in record.requests)
    if mismatches:
        yield f"{mismatches} results differ from the whole model's"
    yield from _encoding_problems(record)
    for phase in record.phases:
        inside = [each for each in reroutes if phase.started_at_s <= each.committed_at_s < phase.ended_at_s]
        if phase.expect_reroute and not inside:
            yield f"no route changed in phase {phase.name} ({phase.condition})"
    if record.collector is None:
        yield "the collector was not asked"
    elif record.collector.missing:
        yield f"the collector lacks {record.collector.missing} of {len(outcomes)} outcomes"
    if record.collector is not None and record.collector.contradicted:
        yield f"{record.collector.contradicted} requests had a result and an error"


def _encoding_problems(record: RunRecord) -> Iterable[str]:
    """Say that encodings changed more answers than the policy's bound allows; a policy that names one gives none."""
    encoded = sum(request.outcome is not None and is_encoded(request.outcome) for request in record.requests)
    changed = sum(_differs_encoded(request) for request in record.requests)
    policy = Policy() if record.ground is None else record.ground.policy
    if not changed or policy.codec != CodecMode.AUTO:
        return
    bound = DEFAULT_TOP1_AGREEMENT if policy.min_top1_agreement is None else policy.min_top1_agreement
    if 1 - changed / encoded < bound:
        yield f"{changed} of {encoded} encoded results differ from the whole model's: more than {1 - bound:.2%}"


def _differs_encoded(request: RequestRecord) -> bool:
    return request.mismatch and request.outcome is not None and is_encoded(request.outcome)


def _latency_document(latency: LatencySummary) -> dict[str, float | None]:
    return {"p50": _rounded(latency.p50), "p95": _rounded(latency.p95)}


def _phase_document(phase: PhaseSummary) -> dict[str, Any]:
    return {
        "name": phase.name,
        "condition": phase.condition,
        "requests": phase.requests,
        "latency_ms": _latency_document(phase.latency),
        "settled_latency_ms": _latency_document(phase.settled),
        "route": phase.route,
        "predicted_ms": _rounded(phase.predicted_ms),
        "best_single_device": _alternative_document(phase.single),
        "best_fixed_plan": _alternative_document(phase.fixed),
        "first_plan_kept": _alternative_document(phase.held),
    }


def _alternative_document(alternative: Alternative | None) -> dict[str, Any] | None:
    if alternative is None:
        return None
    return {"route": alternative.route, "predicted_ms": _rounded(alternative.predicted_ms)}


def _reroute_document(reroute: RerouteSummary) -> dict[str, Any]:
    return {
        "phase": reroute.phase,
        "cause": reroute.cause.value,
        "reason": reroute.reason,
        "from": reroute.previous,
        "to": reroute.chosen,
        "predicted_ms": [_rounded(value) for value in reroute.predicted_ms],
        "measured_ms": [_rounded(value) for value in reroute.measured_ms],
        "reaction_ms": _rounded(reroute.reaction_ms),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
