"""Messages and records built from a decision: the plan to propose, its basis, and the reroute event."""

from services.planner.decisions.candidates import Candidate
from services.planner.decisions.committed_routes import burst_jobs
from services.planner.decisions.replan import RerouteDecision
from shared.messages.events import Reroute
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan


def proposed_plan(candidate: Candidate, reroute: RerouteDecision, manifest: Manifest, now_s: float) -> CommittedPlan:
    """Return the plan to propose; its epoch and its time of commitment are filled in by the epochs."""
    stream, policy = candidate.problem.streams[0], candidate.policy
    return CommittedPlan(
        stream=stream.name,
        epoch=0,
        model=stream.model,
        version=manifest.version(),
        source=stream.source,
        strategy=candidate.strategy,
        routes=reroute.routes,
        queue=policy.queue.value,
        max_in_flight=policy.max_in_flight,
        retry_limit=policy.retry_limit,
        deadline_ms=policy.deadline_ms,
        transport=policy.transport,
        live=candidate.live,
        jobs=burst_jobs(candidate.problem),
        reason=reroute.reason,
        trigger_at_s=now_s if reroute.cause.at_s is None else reroute.cause.at_s,
    )


def reroute_message(
    plan: CommittedPlan, reroute: RerouteDecision, previous: CommittedPlan | None, objective: str
) -> Reroute:
    """Return the data of the event that explains a change of routes."""
    return Reroute(
        stream=plan.stream,
        epoch=plan.epoch,
        cause=reroute.cause.cause,
        reason=reroute.reason,
        previous=() if previous is None else previous.routes,
        chosen=plan.routes,
        objective=objective,
        predicted_before=reroute.cost_before,
        predicted_after=reroute.cost_after,
        together=reroute.together,
        trigger_at_s=plan.committed_at_s if plan.trigger_at_s is None else plan.trigger_at_s,
        committed_at_s=plan.committed_at_s,
    )
