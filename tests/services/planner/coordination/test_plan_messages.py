"""Messages built from a decision."""

from dataclasses import replace

from services.planner.coordination.plan_messages import proposed_plan, reroute_message
from services.planner.decisions.causes import Cause
from services.planner.decisions.replan import RerouteDecision
from shared.messages.events import RerouteCause
from shared.policy import Policy, QueueDiscipline
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import candidate_of, declaration, problem_of, route, world

MANIFEST = manifest_of(MODEL)
ROUTES = (route((0, 5, "pi")),)
CAUSE = Cause(RerouteCause.LINK_CHANGED, "link pi->server fell", 50.0)
DECISION = RerouteDecision(CAUSE, "link pi->server fell: 9 ms -> 5 ms", ROUTES, 9.0, 5.0, ("camera", "door"))


def test_the_settings_of_the_policy_travel_with_the_plan() -> None:
    policy = Policy(max_in_flight=2, retry_limit=1, deadline_ms=80.0, queue=QueueDiscipline.SHORTEST_JOB_FIRST)
    candidate = replace(candidate_of(problem_of(world(declaration(jobs=3))), live=True), policy=policy)
    plan = proposed_plan(candidate, DECISION, MANIFEST, 60.0)
    assert (plan.stream, plan.epoch, plan.model, plan.source) == ("camera", 0, MODEL, "pi")
    assert plan.version == MANIFEST.version()
    assert (plan.max_in_flight, plan.retry_limit, plan.deadline_ms) == (2, 1, 80.0)
    assert (plan.queue, plan.live, plan.jobs) == ("shortest_job_first", True, 3)
    assert (plan.routes, plan.reason) == (ROUTES, DECISION.reason)


def test_the_trigger_is_the_monitors_message_or_else_the_decision() -> None:
    candidate = candidate_of(problem_of(world()))
    assert proposed_plan(candidate, DECISION, MANIFEST, 60.0).trigger_at_s == 50.0
    unheard = replace(DECISION, cause=replace(CAUSE, at_s=None))
    assert proposed_plan(candidate, unheard, MANIFEST, 60.0).trigger_at_s == 60.0


def test_a_reroute_gives_routes_and_costs_before_and_after() -> None:
    candidate = candidate_of(problem_of(world()))
    plan = proposed_plan(candidate, DECISION, MANIFEST, 60.0).model_copy(update={"epoch": 2, "committed_at_s": 61.0})
    previous = plan.model_copy(update={"epoch": 1, "routes": (route((0, 5, "server")),)})
    event = reroute_message(plan, DECISION, previous, "latency")
    assert (event.epoch, event.previous, event.chosen) == (2, previous.routes, ROUTES)
    assert (event.predicted_before, event.predicted_after, event.together) == (9.0, 5.0, ("camera", "door"))
    assert (event.trigger_at_s, event.committed_at_s, event.objective) == (50.0, 61.0, "latency")
    assert reroute_message(plan, DECISION, None, "latency").previous == ()
