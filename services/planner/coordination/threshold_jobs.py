"""Jobs that compute the thresholds of plans in force, and the effects of their results."""

from planning.problem.problem import Problem
from services.planner.coordination import epoch_events as ev
from services.planner.coordination import epochs as ep
from services.planner.coordination.effects import Step
from services.planner.coordination.planning_view import PlanningView
from services.planner.coordination.stream_state import StreamState
from services.planner.decisions.damping import recent
from services.planner.decisions.switching_ranges import Survey, warm_segments
from shared.messages.alternatives import Alternatives


def next_survey(view: PlanningView) -> Survey | None:
    """Start the survey of a plan in force whose problem has changed since its last survey.

    Streams that are planned together have none: where one route pays depends on those of the others.
    """
    for state in view.states.values():
        if state.epochs.phase is not ep.EpochPhase.RUNNING or not state.thresholds.is_due(view.now_s):
            continue
        survey = _survey_of(state, view)
        if survey is not None and state.thresholds.start(survey, view.now_s):
            return survey
    return None


def thresholds_found(survey: Survey, alternatives: Alternatives, view: PlanningView) -> list[Step]:
    """Publish thresholds that have moved, and keep the segments of the nearest alternatives loaded.

    Thresholds of a plan that is no longer in force, or about to be replaced, are dropped.
    """
    state = view.states[survey.plan.stream]
    manifest = view.snapshot.manifests.get(survey.plan.model)
    is_current = state.epochs.committed is survey.plan and state.epochs.proposal is None
    if not is_current or manifest is None:
        return []
    warm = warm_segments(survey.plan, alternatives, manifest, survey.problem)
    return [*state.advance(ev.KeepWarm(warm, manifest), view.now_s), *state.thresholds.found(alternatives)]


def _survey_of(state: StreamState, view: PlanningView) -> Survey | None:
    problem, plan = view.problem(state.name), state.epochs.committed
    if not isinstance(problem, Problem) or len(problem.streams) > 1:
        return None
    if plan is None or plan.model != problem.streams[0].model:
        return None
    busy_shares = view.circumstances((state.name,)).busy_shares
    return Survey(plan, problem, busy_shares, recent(state.departures, view.now_s))
