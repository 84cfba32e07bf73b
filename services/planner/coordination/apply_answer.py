"""What follows from the answer to a planning job: for every stream of the problem whether, and how, it moves."""

from collections.abc import Sequence
from dataclasses import replace

from planning.problem.plan import Plan
from planning.problem.problem import Problem
from services.planner.coordination import epochs as ep
from services.planner.coordination.effects import Effect
from services.planner.coordination.stream_record import StreamRecord, in_force_of, plan_message, subjects
from services.planner.coordination.stream_records import StreamRecords
from services.planner.coordination.threshold_jobs import without_thresholds
from services.planner.decisions.candidates import Candidate, Contender, States
from services.planner.decisions.causes import Cause
from services.planner.decisions.committed_routes import TiledRouteError, devices_of, to_message
from services.planner.decisions.overload import overload
from services.planner.decisions.replan import Decision, Hold, Keep, RerouteDecision, decide
from services.planner.problems.planning_jobs import Answer, PlanningJob
from services.planner.problems.problem_from_snapshot import own_problem
from services.planner.problems.sharing import present_rate_hz
from services.planner.problems.snapshot import FleetSnapshot
from shared.messages.events import EventKind, RerouteCause
from shared.messages.streams import PlanRoute


def conclude(
    streams: StreamRecords, job: PlanningJob, answer: Answer, snapshot: FleetSnapshot, now_s: float
) -> list[Effect]:
    """Act on the answer to a job under the policies in force."""
    streams.record(job.stream).solved = (job.problem, answer)
    if _is_overtaken(streams, job, snapshot):
        for stream in job.streams:
            if stream in snapshot.streams:
                streams.mark(stream, now_s)
        return []
    if any(streams.record(stream).epochs.proposal is not None for stream in job.streams):
        return []
    effects = [effect for stream in job.streams for effect in _note_feasibility(streams, stream, answer, now_s)]
    plan = answer.plan
    if plan is None:
        return effects
    solved = job.problem if answer.fallback is None else answer.fallback.problem
    try:
        routes = _routes(solved, plan)
    except TiledRouteError as error:
        for stream in plan.streams:
            streams.record(stream).infeasible = (f"strategy {plan.strategy}: {error}",)
        return effects
    if not all(snapshot.device(device).online for own in routes.values() for device in devices_of(own)):
        streams.mark(job.stream, now_s)
        return effects
    contenders = []
    for stream in routes:
        record, live = streams.record(stream), snapshot.streams[stream].live
        candidate = Candidate(own_problem(solved, stream), job.policies[stream], routes[stream], plan.strategy, live)
        contenders.append(Contender(record.in_force, candidate, record.departures))
    states = States(solved, _likewise(job.open_problem, solved))
    return effects + _act(streams, contenders, states, snapshot, now_s)


def _is_overtaken(streams: StreamRecords, job: PlanningJob, snapshot: FleetSnapshot) -> bool:
    """Say whether another problem would be solved now: a stream has gone or come, or a policy has changed."""
    for stream in job.streams:
        if stream not in snapshot.streams or streams.record(stream).pending is not None:
            return True
        if job.policies[stream] != snapshot.policy(stream):
            return True
    return False


def _routes(problem: Problem, plan: Plan) -> dict[str, tuple[PlanRoute, ...]]:
    """Split a plan into the routes of its streams.

    Raises:
        TiledRouteError: a stage is split over several devices.
    """
    names = (stream.name for stream in problem.streams)
    return {name: to_message(own_problem(problem, name), plan.streams[name]) for name in names}


def _likewise(problem: Problem, solved: Problem) -> Problem:
    """Return a problem with those streams, deadlines and that policy for which a strategy has found a plan."""
    kept = {stream.name: stream for stream in solved.streams}
    streams = tuple(
        replace(stream, deadline_ms=kept[stream.name].deadline_ms) for stream in problem.streams if stream.name in kept
    )
    return replace(problem, streams=streams, policy=solved.policy)


def _act(
    streams: StreamRecords, contenders: Sequence[Contender], states: States, snapshot: FleetSnapshot, now_s: float
) -> list[Effect]:
    decisions = decide(contenders, states, snapshot, now_s)
    effects: list[Effect] = []
    for each in contenders:
        record = streams.record(each.stream)
        if len(contenders) > 1:
            effects += without_thresholds(record)
        decision = decisions[each.stream]
        _note_overload(record, each.candidate, decision, snapshot)
        effects += _enact(streams, record, each.candidate, decision, states, snapshot, now_s)
    return effects


def _note_overload(record: StreamRecord, candidate: Candidate, decision: Decision, snapshot: FleetSnapshot) -> None:
    present = () if record.in_force is None else record.in_force.routes
    routes = decision.routes if isinstance(decision, RerouteDecision) else present
    rate_hz = present_rate_hz(record.epochs.stream, snapshot)
    record.overload = overload(candidate.problem, routes, rate_hz, already=bool(record.overload)) if routes else ""


def _enact(
    streams: StreamRecords,
    record: StreamRecord,
    candidate: Candidate,
    decision: Decision,
    states: States,
    snapshot: FleetSnapshot,
    now_s: float,
) -> list[Effect]:
    match decision:
        case Keep():
            record.held, record.rejection = None, ""
            if record.in_force is not None:
                basis = record.in_force.problem or states.whole
                record.in_force = replace(record.in_force, policy=candidate.policy, problem=basis)
            return []
        case Hold(until_s, cause):
            record.held = record.held or cause
            streams.mark(record.epochs.stream, until_s)
            return []
        case RerouteDecision():
            reroute = _with_history(decision, record)
            manifest = snapshot.manifests[candidate.problem.streams[0].model]
            plan = plan_message(candidate, reroute, now_s)
            record.next_in_force = in_force_of(plan, candidate, states.whole)
            return streams.advance(record, ep.Propose(plan, manifest, reroute), snapshot, now_s)


def _note_feasibility(streams: StreamRecords, stream: str, answer: Answer, now_s: float) -> list[Effect]:
    record, outcome = streams.record(stream), answer.infeasible(stream)
    if outcome is None:
        record.infeasible, record.infeasible_subjects = (), frozenset()
        return []
    rejected = [f"{each.device}: {each.reason}" for each in streams.exclusions if each.stream == stream]
    record.infeasible = (*(violation.message for violation in outcome.reasons), *rejected)
    known, record.infeasible_subjects = record.infeasible_subjects, subjects(outcome)
    if known == record.infeasible_subjects:
        return []
    text = f"stream {stream}: no plan is possible: {'; '.join(record.infeasible)}"
    data = {"reasons": list(record.infeasible)}
    return [streams.event(EventKind.INFEASIBLE, text, now_s, stream=stream, data=data)]


def _with_history(reroute: RerouteDecision, record: StreamRecord) -> RerouteDecision:
    """Return the reroute with the cause that was there first: a rejection, or what the cooldown has held back."""
    cause = reroute.cause
    if record.rejection:
        rejected = Cause(RerouteCause.REJECTED, record.rejection, cause.at_s)
        return replace(reroute, cause=rejected, reason=f"{record.rejection}; {reroute.reason}")
    if record.held is not None and record.held.cause is cause.cause:
        return replace(reroute, cause=replace(cause, at_s=record.held.at_s))
    return reroute
