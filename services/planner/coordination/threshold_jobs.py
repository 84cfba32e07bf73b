"""Jobs that compute the thresholds of plans in force, and the effects of their results."""

from planning.problem.problem import Problem
from services.planner.coordination import epoch_events as ev
from services.planner.coordination import epochs as ep
from services.planner.coordination.effects import Step
from services.planner.coordination.planned_stream import PlannedStream
from services.planner.coordination.planning_view import PlanningView
from services.planner.decisions.damping import recent
from services.planner.decisions.switching_ranges import ThresholdJob, warm_segments
from shared.messages.alternatives import Alternatives


def next_threshold_job(view: PlanningView) -> ThresholdJob | None:
    """Start the job of a plan in force whose problem has changed since its last job.

    Streams that are planned together have none: the value at which one route pays depends on the routes of the others.
    """
    for state in view.states.values():
        if state.epochs.phase is not ep.EpochPhase.RUNNING or not state.thresholds.is_due(view.now_s):
            continue
        job = _job_of(state, view)
        if job is not None and state.thresholds.start(job, view.now_s):
            return job
    return None


def thresholds_found(job: ThresholdJob, alternatives: Alternatives, view: PlanningView) -> list[Step]:
    """Publish thresholds that have moved, and keep the segments of the nearest alternatives loaded.

    Thresholds are dropped if their plan is not in force, or is about to be replaced.
    """
    state = view.states[job.plan.stream]
    manifest = view.snapshot.manifest_under(job.plan)
    declaration = view.snapshot.streams.get(job.plan.stream)
    newest = None if declaration is None else view.snapshot.manifest_of(declaration)
    is_current = state.epochs.committed is job.plan and state.epochs.proposal is None
    if not is_current or manifest is None:
        return []
    # All segments of an epoch have one description. A changed one is about to get an epoch of its own.
    if job.plan.version and newest is not None and newest.version() != job.plan.version:
        return []
    warm = warm_segments(job.plan, alternatives, manifest, job.problem)
    return [*state.advance(ev.KeepWarm(warm, manifest), view.now_s), *state.thresholds.found(alternatives)]


def _job_of(state: PlannedStream, view: PlanningView) -> ThresholdJob | None:
    problem, plan = view.problem(state.name), state.epochs.committed
    if not isinstance(problem, Problem) or len(problem.streams) > 1:
        return None
    # A stream that is about to move to a newer model has no thresholds on the old one.
    if plan is None or plan.model != problem.streams[0].model:
        return None
    busy_shares = view.circumstances((state.name,)).busy_shares
    departures = recent(state.departures, view.now_s)
    return ThresholdJob(plan, problem, busy_shares, departures, state.costs.is_swinging(view.now_s))
