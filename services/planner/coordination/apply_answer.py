"""Consequences of the answer to a planning job: decided for every stream first, then carried out by the streams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from services.planner.coordination.effects import Effect, Replan, Step
from services.planner.coordination.planned_streams import PlannedStreams
from services.planner.coordination.planning_view import PlanningView
from services.planner.decisions.candidates import Candidate
from services.planner.decisions.committed_routes import TiledRouteError, devices_of, to_message
from services.planner.decisions.cost_history import CostHistory
from services.planner.decisions.overload import overload
from services.planner.decisions.replan import Decision, Hold, Keep, RerouteDecision, decide
from services.planner.problems.planning_jobs import Answer, PlanningJob
from services.planner.problems.problem_from_snapshot import own_problem
from services.planner.problems.sharing import present_rate_hz
from shared.messages.models import Manifest
from shared.messages.streams import PlanRoute


@dataclass(frozen=True, slots=True)
class StreamMove:
    """Decision about one stream.

    Attributes:
        candidate: its part of the answer.
        decision: whether it takes the candidate's routes.
        problem: of all streams planned together, with every choice open.
        manifest: of its model.
        overload: the device that does not keep up with the requests then, as a sentence; empty if every device does.
        present_cost: of the routes in force, all streams planned together; None if they cannot run.
    """

    candidate: Candidate
    decision: Decision
    problem: Problem
    manifest: Manifest
    overload: str
    present_cost: float | None = None

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.candidate.stream


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Consequences of an answer.

    Attributes:
        feasibility: constraints that cannot be met, by stream; None for a stream whose constraints can all be met.
        unusable: why executors cannot run the plan, by stream.
        moves: of the streams that have a plan.
        replan: streams whose problem has changed while it was solved.
        history: past costs of the routes in force and their rivals; None if nothing was compared.
    """

    feasibility: Mapping[str, Infeasible | None] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    moves: tuple[StreamMove, ...] = ()
    replan: tuple[str, ...] = ()
    history: CostHistory | None = None


def conclude(job: PlanningJob, answer: Answer, view: PlanningView) -> Conclusion:
    """Decide the consequences of an answer for the streams of its job, under the policies in force.

    If the problem has changed meanwhile, the streams are only planned again. The same holds while a stream of the job
    has a proposal: its end plans the stream from the newest state.
    """
    if _is_outdated(job, view):
        return Conclusion(replan=tuple(stream for stream in job.streams if stream in view.snapshot.streams))
    if any(view.states[stream].epochs.proposal is not None for stream in job.streams):
        # Its end plans the stream again, as `PlanAgain` or with the commit.
        return Conclusion()
    feasibility = {stream: answer.infeasible(stream) for stream in job.streams}
    plan = answer.plan
    if plan is None:
        return Conclusion(feasibility)
    solved = job.problem if answer.fallback is None else answer.fallback.problem
    try:
        routes = _routes(solved, plan)
    except TiledRouteError as error:
        return Conclusion(feasibility, unusable=dict.fromkeys(plan.streams, f"strategy {plan.strategy}: {error}"))
    # A device may have gone while the problem was solved: its last will came after the problem was built.
    if not all(view.snapshot.device(device).online for own in routes.values() for device in devices_of(own)):
        return Conclusion(feasibility, replan=(job.stream,))
    # Present routes may use a choice that was rejected later, so they are judged with every choice open.
    whole = _restricted(job.open_problem, solved)
    candidates = [
        Candidate(
            own_problem(solved, stream),
            job.policies[stream],
            own,
            plan.strategy,
            view.snapshot.streams[stream].live,
            view.states[stream].in_force,
            view.states[stream].departures,
            view.snapshot.manifest_of(view.snapshot.streams[stream]),
            view.states[stream].measurements.take_back,
        )
        for stream, own in routes.items()
    ]
    history = _history(candidates, whole, view)
    decisions = decide(candidates, solved, whole, view.snapshot, view.now_s, history)
    cost = history.present_cost({each.stream: each.present.routes for each in candidates if each.present is not None})
    moves = tuple(_move(each, decisions[each.stream], whole, view, cost) for each in candidates)
    return Conclusion(feasibility, moves=moves, history=history)


def carry_out(conclusion: Conclusion, streams: PlannedStreams, now_s: float) -> list[Effect]:
    """Pass each decision to its stream, and return the effects in order."""
    effects: list[Effect] = []
    for move in conclusion.moves:
        streams[move.stream].predicted(move.problem, move.present_cost)
    if conclusion.history is not None:
        streams[conclusion.moves[0].stream].costs_seen(conclusion.history)
    for stream, outcome in conclusion.feasibility.items():
        rejected = [f"{each.device}: {each.reason}" for each in streams.exclusions if each.stream == stream]
        effects += streams[stream].findings.feasibility_found(outcome, rejected, now_s)
    for stream, reason in conclusion.unusable.items():
        streams[stream].findings.strategy_failed(reason)
    for move in conclusion.moves:
        if len(conclusion.moves) > 1:
            effects += streams[move.stream].thresholds.withdraw()
        streams[move.stream].findings.overload_found(move.overload)
        effects += streams.perform(_steps(move, streams, now_s), now_s)
    return effects + streams.perform([Replan(stream, now_s) for stream in conclusion.replan], now_s)


def _history(candidates: Sequence[Candidate], whole: Problem, view: PlanningView) -> CostHistory:
    """Return the history of costs, with the present ones. The first stream of a group keeps it."""
    present = {each.stream: each.routes if each.present is None else each.present.routes for each in candidates}
    chosen = {each.stream: each.routes for each in candidates}
    return view.states[candidates[0].stream].costs.observed(whole, (chosen, present), view.now_s)


def _steps(move: StreamMove, streams: PlannedStreams, now_s: float) -> list[Step]:
    state = streams[move.stream]
    match move.decision:
        case Keep():
            return state.keep(move.candidate, move.problem)
        case Hold(until_s, cause):
            return state.postpone(cause, until_s)
        case RerouteDecision():
            return state.propose(move.candidate, move.decision, move.problem, move.manifest, now_s)


def _is_outdated(job: PlanningJob, view: PlanningView) -> bool:
    """Return whether another problem would be solved now, because of its streams, not of changed measurements.

    An answer to slightly older measurements is used: if they have changed much, the next job corrects it.
    """
    for stream in job.streams:
        declaration = view.snapshot.streams.get(stream)
        if declaration is None or view.states[stream].policy.request is not None:
            return True
        manifest = view.snapshot.manifest_of(declaration)
        problem = own_problem(job.problem, stream)
        posed = problem.streams[0]
        if manifest is None or (posed.model, posed.source) != (manifest.model, declaration.source):
            return True
        if len(problem.models[posed.model].blocks) != len(manifest.blocks):
            return True
        if posed.jobs != declaration.jobs or job.policies[stream] != view.snapshot.policy(stream):
            return True
    return False


def _routes(problem: Problem, plan: Plan) -> dict[str, tuple[PlanRoute, ...]]:
    """Split a plan into the routes of its streams.

    Raises:
        TiledRouteError: a stage is split over several devices.
    """
    names = (stream.name for stream in problem.streams)
    return {name: to_message(own_problem(problem, name), plan.streams[name]) for name in names}


def _restricted(problem: Problem, solved: Problem) -> Problem:
    """Return a problem with those streams, deadlines and that policy for which a strategy has found a plan."""
    planned = {stream.name: stream for stream in solved.streams}
    streams = tuple(
        replace(stream, deadline_ms=planned[stream.name].deadline_ms)
        for stream in problem.streams
        if stream.name in planned
    )
    return replace(problem, streams=streams, policy=solved.policy)


def _move(
    candidate: Candidate, decision: Decision, whole: Problem, view: PlanningView, present_cost: float | None
) -> StreamMove:
    stream, manifest, text = candidate.stream, candidate.manifest, ""
    if manifest is None:
        raise ValueError(f"stream {stream} has no model")
    present = () if candidate.present is None else candidate.present.routes
    routes = decision.routes if isinstance(decision, RerouteDecision) else present
    if routes:
        rate_hz = present_rate_hz(stream, view.snapshot)
        text = overload(candidate.problem, routes, rate_hz, already=view.states[stream].findings.has_overload)
    return StreamMove(candidate, decision, whole, manifest, text, present_cost)
