"""The summary of a run: latencies by phase, reroutes with their effect, baselines, and faults."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.cli.render.fleet_view import is_encoded, latency_ms
from services.cli.render.route_text import committed_routes_text
from services.cli.testbed.baselines import BaselinePlan, Baselines, find_baselines
from services.cli.testbed.collector_counts import CollectorCounts
from services.cli.testbed.predictions import predict_ms
from services.cli.testbed.run_record import PhaseRecord, RequestRecord, RunRecord
from services.planner.problems.allowed_encodings import DEFAULT_TOP1_AGREEMENT
from shared.messages.events import Reroute, RerouteCause
from shared.messages.requests import ClassScore, Outcome, OutcomeStatus
from shared.policy import CodecMode, Policy

# Number of results before a reroute whose median is the latency before it, if no result falls between its trigger and
# its commit.
_RESULTS_BEFORE: Final = 10


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Percentiles of measured latencies in ms, from acceptance at the source to the result; None without results."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class RerouteSummary:
    """One change of the route.

    Attributes:
        phase: the phase in which it was committed; empty outside of all phases. previous, chosen: the routes before and
        after it.
        predicted_ms: predicted latencies in the new state on the previous route and on the new one. None for a previous
            route that cannot run.
        measured_ms: median measured latencies: on the previous route since the state changed, on the new one.
        reaction_ms: time from the monitor's message to the first request on the new route.
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
    """One phase. All predictions are for its true conditions.

    Attributes:
        route: the route at the end of the phase.
        latency: of the requests that were accepted in it.
        settled: of the requests that were accepted after its last reroute.
        predicted_ms: predicted latency of `route`.
        single: the best single device, chosen in hindsight for this phase.
        fixed: the one plan that is best over all phases.
        first: the plan of the first phase, never changed.
    """

    name: str
    condition: str
    requests: int
    route: str
    latency: LatencySummary
    settled: LatencySummary
    predicted_ms: float | None
    single: BaselinePlan | None
    fixed: BaselinePlan | None
    first: BaselinePlan | None


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """The best classes of a file, from the last result that it had."""

    file: str
    top: tuple[ClassScore, ...]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The figures of a run.

    Attributes:
        lost: requests without an outcome.
        duplicates: further outcomes of requests that the collector received; it keeps the first.
        mismatches: results that differ from the whole model's.
        encoded: results whose feature maps travelled in a lossy encoding; they differ if their best class does.
        encoded_mismatches: results that count in both `encoded` and `mismatches`.
        predictions: of the files that were sent, if the model has labels.
        problems: faults of the run; empty for a good one.
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
    predictions: tuple[FilePrediction, ...]
    problems: tuple[str, ...]


def summarise(record: RunRecord) -> RunSummary:
    """Return the summary of a run."""
    outcomes = [request.outcome for request in record.requests if request.outcome is not None]
    results = [outcome for outcome in outcomes if outcome.status is OutcomeStatus.OK]
    counts = record.collector or CollectorCounts(stored=0)
    return RunSummary(
        requests=len(record.requests),
        results=len(results),
        errors=len(outcomes) - len(results),
        lost=len(record.requests) - len(outcomes),
        duplicates=counts.computed_twice + counts.contradicted,
        mismatches=sum(request.is_wrong for request in record.requests),
        encoded=sum(is_encoded(outcome) for outcome in results),
        encoded_mismatches=sum(request.is_encoded_mismatch for request in record.requests),
        latency=_latency(results),
        phases=tuple(_phases(record)),
        reroutes=tuple(_reroute(reroute, record) for reroute in _changes(record)),
        input_bytes=None if record.basis is None else record.basis.input_bytes,
        predictions=_predictions(record.requests),
        problems=tuple(_problems(record, len(outcomes))),
    )


def _predictions(requests: Iterable[RequestRecord]) -> tuple[FilePrediction, ...]:
    """Return the predictions in the order of the files' first results."""
    top: dict[str, tuple[ClassScore, ...]] = {}
    for request in requests:
        if request.file and request.outcome is not None and request.outcome.top:
            top[request.file] = request.outcome.top
    return tuple(FilePrediction(file, scores) for file, scores in top.items())


def nearest_rank(values: Sequence[float], fraction: float) -> float | None:
    """Return the value below which `fraction` of the values lie (nearest rank); None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def _latency(results: Iterable[Outcome]) -> LatencySummary:
    values = [latency_ms(outcome) for outcome in results]
    return LatencySummary(nearest_rank(values, 0.5), nearest_rank(values, 0.95))


def _changes(record: RunRecord) -> tuple[Reroute, ...]:
    """Return the reroutes but the first plan, which replaces none."""
    return tuple(reroute for reroute in record.reroutes if reroute.cause is not RerouteCause.FIRST_PLAN)


def _phases(record: RunRecord) -> Iterator[PhaseSummary]:
    baselines = None
    if record.basis is not None:
        baselines = find_baselines(record.basis, [phase.conditions for phase in record.phases])
    first = _plan_at(record.reroutes, record.phases[0].ended_at_s) if record.phases else None
    for index, phase in enumerate(record.phases):
        yield _phase(record, phase, index, first, baselines)


def _phase(
    record: RunRecord, phase: PhaseRecord, index: int, first: Reroute | None, baselines: Baselines | None
) -> PhaseSummary:
    accepted = _results(record.requests, phase.started_at_s, phase.ended_at_s)
    plan = _plan_at(record.reroutes, phase.ended_at_s)
    settled_since_s = phase.started_at_s if plan is None else max(phase.started_at_s, plan.committed_at_s)
    return PhaseSummary(
        name=phase.name,
        condition=phase.condition,
        requests=sum(phase.contains(request.submitted_at_s) for request in record.requests),
        route="" if plan is None else committed_routes_text(plan.chosen),
        latency=_latency(accepted),
        settled=_latency(outcome for outcome in accepted if outcome.accepted_at_s >= settled_since_s),
        predicted_ms=_predicted_ms(record, phase, plan),
        single=None if baselines is None else baselines.single[index],
        fixed=None if baselines is None else baselines.fixed[index],
        first=None
        if first is None
        else BaselinePlan(committed_routes_text(first.chosen), _predicted_ms(record, phase, first)),
    )


def _predicted_ms(record: RunRecord, phase: PhaseRecord, plan: Reroute | None) -> float | None:
    if record.basis is None or plan is None:
        return None
    return predict_ms(record.basis, phase.conditions, plan.chosen)


def _plan_at(reroutes: Iterable[Reroute], at_s: float) -> Reroute | None:
    """Return the last plan that was committed before a time; None if there is none."""
    committed = (reroute for reroute in reroutes if reroute.committed_at_s < at_s)
    return max(committed, key=lambda reroute: reroute.epoch, default=None)


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
    phase = next((phase for phase in record.phases if phase.contains(reroute.committed_at_s)), None)
    results = _results(record.requests, 0.0, float("inf"))
    after = [outcome for outcome in results if outcome.epoch == reroute.epoch]
    before = [outcome for outcome in results if outcome.epoch < reroute.epoch]
    # The state changes with the phase; its monitor reports that a moment later, which triggers the reroute.
    changed_at_s = reroute.trigger_at_s if phase is None else min(phase.started_at_s, reroute.trigger_at_s)
    affected = [outcome for outcome in before if outcome.completed_at_s >= changed_at_s]
    first_dispatch_s = min((outcome.dispatched_at_s for outcome in after), default=None)
    return RerouteSummary(
        phase="" if phase is None else phase.name,
        cause=reroute.cause,
        reason=reroute.reason,
        previous=committed_routes_text(reroute.previous),
        chosen=committed_routes_text(reroute.chosen),
        predicted_ms=(reroute.predicted_before, reroute.predicted_after),
        measured_ms=(_latency(affected or before[-_RESULTS_BEFORE:]).p50, _latency(after).p50),
        reaction_ms=None if first_dispatch_s is None else 1000 * (first_dispatch_s - reroute.trigger_at_s),
    )


def _problems(record: RunRecord, outcomes: int) -> Iterator[str]:
    """Yield the faults of a run of which `outcomes` requests have an outcome."""
    yield from record.notes
    if not record.requests:
        yield "no request was submitted"
    lost = len(record.requests) - outcomes
    if lost:
        yield f"{lost} of {len(record.requests)} requests have no outcome"
    incomplete = [request.left_out for request in record.requests if request.left_out]
    if incomplete:
        yield f"{len(incomplete)} results are not compared with the whole model's: {incomplete[0]}"
    mismatches = sum(request.is_wrong and not request.is_encoded_mismatch for request in record.requests)
    if mismatches:
        yield f"{mismatches} results differ from the whole model's"
    yield from _encoding_problems(record)
    changes = _changes(record)
    for phase in record.phases:
        if phase.expect_reroute and not any(phase.contains(reroute.committed_at_s) for reroute in changes):
            yield f"no route changed in phase {phase.name} ({phase.condition})"
    if record.collector is None:
        yield "the collector was not asked"
        return
    if record.collector.missing:
        yield f"the collector lacks {record.collector.missing} of {outcomes} outcomes"
    if record.collector.contradicted:
        yield f"{record.collector.contradicted} requests had a result and an error"


def _encoding_problems(record: RunRecord) -> Iterator[str]:
    """Yield a fault if encodings changed more answers than the policy's bound allows."""
    # A policy that names an encoding accepts its effect. Only the planner's own choice must keep the bound.
    encoded = sum(request.outcome is not None and is_encoded(request.outcome) for request in record.requests)
    changed = sum(request.is_encoded_mismatch for request in record.requests)
    policy = Policy() if record.basis is None else record.basis.policy
    if not changed or policy.codec != CodecMode.AUTO:
        return
    bound = DEFAULT_TOP1_AGREEMENT if policy.min_top1_agreement is None else policy.min_top1_agreement
    if 1 - changed / encoded < bound:
        yield f"{changed} of {encoded} encoded results differ from the whole model's: more than {1 - bound:.2%}"
