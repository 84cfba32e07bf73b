"""A piece of planning: the answer, and the fastest plan where only the deadline cannot be met."""

from planner_world import problem_of, world

from services.planner.jobs import Job, run_job
from services.planner.policies import PolicyRequest
from services.planner.snapshot import PolicySet
from services.planner.strategies import solve
from shared.plan.plan import Constraint, Infeasible, Plan
from shared.plan.policy import DeviceRule, Objective, Policy


def job(policy: Policy, request: PolicyRequest | None = None) -> Job:
    problem = problem_of(world(PolicySet("camera", policy)))
    return Job("camera", problem, problem, request)


def test_a_plan_is_an_answer() -> None:
    answer = run_job(job(Policy()), solve)
    assert isinstance(answer.outcome, Plan) and answer.relaxed is None and answer.fallback is None


def test_without_the_deadline_the_fastest_plan_is_found() -> None:
    answer = run_job(job(Policy(deadline_ms=5.0, objective=Objective.ENERGY)), solve)
    assert isinstance(answer.outcome, Infeasible)
    assert [each.constraint for each in answer.outcome.reasons] == [Constraint.DEADLINE]
    assert answer.relaxed is not None and answer.relaxed.deadline_ms is None
    assert answer.fallback is not None and answer.fallback.objective is Objective.LATENCY


def test_a_policy_under_judgement_is_not_relaxed() -> None:
    policy = Policy(deadline_ms=5.0)
    assert run_job(job(policy, PolicyRequest("", policy)), solve).fallback is None


def test_other_constraints_are_never_relaxed() -> None:
    policy = Policy(deadline_ms=5.0, raw_input_stays_on_source=True, devices=DeviceRule(deny=("pi",)))
    assert run_job(job(policy), solve).fallback is None
