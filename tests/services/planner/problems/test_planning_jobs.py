"""Planning jobs: the answer, and fallbacks for problems without a solution."""

from dataclasses import replace

from planning.files.problem_file import read_problem
from planning.problem.plan import Constraint, Infeasible, Plan
from planning.strategies import solve
from services.planner.problems.planning_jobs import PlanningJob, run_job
from services.planner.problems.policies import PolicyRequest
from services.planner.problems.problem_from_snapshot import Circumstances, build_problem
from services.planner.problems.snapshot import Change, PolicySet
from shared.policy import DeviceRule, Objective, Policy
from tests.support.planner_fleet import manifest_of
from tests.support.planner_world import (
    CAMERAS,
    SHARED_MS,
    after,
    cameras,
    declaration,
    link,
    presence,
    problem_of,
    profile,
    world,
)
from tests.support.shared_paths import INSTANCES


def job(policy: Policy, request: PolicyRequest | None = None) -> PlanningJob:
    problem = problem_of(world(PolicySet("camera", policy)))
    return PlanningJob("camera", problem, problem, {"camera": policy}, request)


def test_a_plan_is_an_answer() -> None:
    answer = run_job(job(Policy()), solve)
    assert isinstance(answer.outcome, Plan)
    assert answer.plan is answer.outcome
    assert answer.fallback is None
    assert answer.infeasible("camera") is None


def test_without_the_deadline_the_fastest_plan_is_found() -> None:
    answer = run_job(job(Policy(deadline_ms=5.0, objective=Objective.ENERGY)), solve)
    assert isinstance(answer.outcome, Infeasible)
    assert [each.constraint for each in answer.outcome.reasons] == [Constraint.DEADLINE]
    assert answer.infeasible("camera") is answer.outcome
    assert answer.fallback is not None
    assert answer.plan is answer.fallback.plan
    assert answer.fallback.problem.policy.deadline_ms is None
    assert answer.fallback.plan.objective is Objective.LATENCY


def test_a_policy_under_judgement_is_not_relaxed() -> None:
    policy = Policy(deadline_ms=5.0)
    assert run_job(job(policy, PolicyRequest("", policy)), solve).fallback is None


def test_other_constraints_are_never_relaxed() -> None:
    policy = Policy(deadline_ms=5.0, raw_input_stays_on_source=True, devices=DeviceRule(deny=("pi",)))
    assert run_job(job(policy), solve).fallback is None


TOTAL = Policy(objective=Objective.TOTAL_DELAY)


def joint_job(*changes: Change, request: PolicyRequest | None = None) -> PlanningJob:
    snapshot = after(cameras(TOTAL), *changes)
    problem = build_problem(snapshot, CAMERAS, Circumstances(100.0, {}))
    policies = {name: snapshot.policy(name) for name in CAMERAS}
    return PlanningJob("west" if request else "east", problem, problem, policies, request)


def test_streams_are_solved_together() -> None:
    answer = run_job(joint_job(), solve)
    assert answer.plan is not None
    assert answer.plan.streams.keys() == set(CAMERAS)
    assert joint_job().streams == CAMERAS


def test_a_stream_whose_deadline_cannot_be_met_is_planned_with_the_others_without_it() -> None:
    answer = run_job(joint_job(PolicySet("west", replace(TOTAL, deadline_ms=5.0))), solve)
    assert isinstance(answer.outcome, Infeasible)
    assert set(answer.culprits) == {"west"}
    assert answer.fallback is not None
    assert answer.fallback.plan.streams.keys() == set(CAMERAS)
    assert answer.fallback.problem.policy == TOTAL
    assert answer.infeasible("west") is not None
    assert answer.infeasible("east") is None


def test_the_objective_deadline_gives_way_to_the_fastest_plan() -> None:
    policy = Policy(objective=Objective.DEADLINE, strategy="milp", deadline_ms=300.0)
    terms = [PolicySet(name, policy) for name in CAMERAS]
    answer = run_job(joint_job(*terms, PolicySet("west", replace(policy, deadline_ms=5.0))), solve)
    assert answer.fallback is not None
    assert answer.fallback.plan.objective is Objective.LATENCY
    assert [stream.deadline_ms for stream in answer.fallback.problem.streams] == [300.0, 300.0, None]


def test_a_stream_that_cannot_run_at_all_is_left_out() -> None:
    answer = run_job(joint_job(profile("west", ()), link("west", "server", 0.0)), solve)
    assert set(answer.culprits) == {"west"}
    assert answer.plan is not None
    assert answer.plan.streams.keys() == {"east", "north"}
    assert answer.infeasible("north") is None


def test_without_a_culprit_no_stream_is_planned() -> None:
    """Each stream alone fits on the server, and all of them together do not."""
    scarce = [profile(name, ()) for name in CAMERAS]
    small = [presence("server", memory_bytes=4_700_000)]
    other = manifest_of("b" * 64, "other")
    own: list[Change] = [
        other,
        profile("server", SHARED_MS, other.model),
        declaration("west", source="west", model="other"),
    ]
    answer = run_job(joint_job(*scarce, *small, *own), solve)
    assert isinstance(answer.outcome, Infeasible)
    assert answer.plan is None
    assert answer.culprits == {}
    assert answer.infeasible("east") is answer.outcome


def test_a_policy_is_judged_in_the_group_and_not_for_the_trouble_of_others() -> None:
    late = replace(TOTAL, deadline_ms=5.0)
    refused = run_job(joint_job(PolicySet("west", late), request=PolicyRequest("", late)), solve)
    assert refused.infeasible("west") is not None
    sound = run_job(joint_job(PolicySet("east", late), request=PolicyRequest("", TOTAL)), solve)
    assert isinstance(sound.outcome, Infeasible)
    assert sound.infeasible("west") is None


def test_a_stream_without_any_route_leaves_a_plan_for_the_others() -> None:
    problem = read_problem((INSTANCES / "one_stream_without_route_throughput.json").read_bytes())
    answer = run_job(PlanningJob("s0", problem, problem, {}), solve)
    assert set(answer.culprits) == {"s1"}
    assert answer.plan is not None
    assert set(answer.plan.streams) == {"s0"}
    without = answer.infeasible("s1")
    assert without is not None
    assert without.reason == "stream s1: no route from d0 to d1"
