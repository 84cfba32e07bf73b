"""Which problem is solved for a stream."""

from dataclasses import replace

from planning.problem.problem import Problem
from services.planner.coordination.epochs import Epochs
from services.planner.coordination.posing import pose, present_problem
from services.planner.coordination.stream_record import StreamRecord
from services.planner.problems.planning_jobs import PlanningJob
from services.planner.problems.policies import PolicyRequest
from services.planner.problems.problem_from_snapshot import Exclusion
from services.planner.problems.profile_requests import Measurement
from services.planner.problems.readiness import Waiting
from services.planner.problems.snapshot import FleetSnapshot, PolicySet
from shared.messages.devices import State
from shared.messages.streams import CommittedPlan, StreamUsage
from shared.policy import Objective, Policy
from tests.support.planner_fleet import MODEL
from tests.support.planner_world import CAMERAS, after, cameras, declaration, presence, route

TOTAL = Policy(objective=Objective.TOTAL_DELAY)


def plan(stream: str, device: str) -> CommittedPlan:
    routes = (route((0, 5, device)),)
    return CommittedPlan(stream=stream, epoch=1, model=MODEL, source="east", strategy="auto", routes=routes)


def records(*names: str, device: str = "server") -> dict[str, StreamRecord]:
    return {name: StreamRecord(Epochs(name, 1, plan(name, device)), declared=True) for name in (names or CAMERAS)}


def posed(stream: str, known: dict[str, StreamRecord], snapshot: FleetSnapshot) -> PlanningJob:
    job = pose(stream, known, (), snapshot, {}, 100.0)
    assert isinstance(job, PlanningJob)
    return job


def test_a_group_is_posed_once_whoever_is_due() -> None:
    snapshot = cameras(TOTAL)
    jobs = [posed(name, records(), snapshot) for name in CAMERAS]
    assert jobs[0] == jobs[1] == jobs[2]
    assert jobs[0].stream == "east"
    assert jobs[0].policies == dict.fromkeys(CAMERAS, TOTAL)


def test_only_streams_outside_the_problem_take_memory_and_time() -> None:
    snapshot = after(
        cameras(TOTAL),
        presence("server", memory_bytes=10_000_000),
        declaration("other", source="east"),
        StreamUsage(stream="other", input_bytes=1000, rate_hz=5.0),
        StreamUsage(stream="west", input_bytes=100_000, rate_hz=5.0),
    )
    server = posed("east", records(*CAMERAS), snapshot).problem.devices["server"]
    assert (server.memory_bytes, server.load_factor) == (10_000_000, 1.0)
    server = posed("east", records(*CAMERAS, "other"), snapshot).problem.devices["server"]
    assert server.memory_bytes == 10_000_000 - 4_600_000
    assert server.load_factor == 2.0


def test_who_cannot_be_planned_yet_is_left_out() -> None:
    snapshot = after(cameras(TOTAL), presence("west", State.OFFLINE))
    assert posed("east", records(), snapshot).streams == ("east", "north")
    assert pose("west", records(), (), snapshot, {}, 100.0) == Waiting(("source device west is offline",))
    undeclared = {**records(), "west": StreamRecord(Epochs("west"))}
    assert pose("west", undeclared, (), snapshot, {}, 100.0) == Waiting(("the stream is not declared",))


def test_only_a_first_plan_waits_for_devices_that_measure() -> None:
    measuring = {("server", MODEL): Measurement("boot1", 99.0, 100.0)}
    snapshot, known = cameras(TOTAL), {**records(), "north": StreamRecord(Epochs("north"), declared=True)}
    job = pose("east", known, (), snapshot, measuring, 100.0)
    assert isinstance(job, PlanningJob)
    assert job.streams == ("east", "west")
    waiting = pose("north", known, (), snapshot, measuring, 100.0)
    assert waiting == Waiting(("device server is measuring model net",))


def test_a_policy_under_judgement_is_posed_in_the_group_it_would_join() -> None:
    snapshot, known = after(cameras(TOTAL), PolicySet("west", None)), records()
    assert posed("west", known, snapshot).streams == ("west",)
    known["west"].pending = PolicyRequest("r", replace(TOTAL, deadline_ms=900.0))
    job = posed("west", known, snapshot)
    assert (job.stream, job.streams, job.request) == ("west", CAMERAS, known["west"].pending)
    assert job.problem.stream("west").deadline_ms == 900.0
    assert posed("east", known, snapshot).streams == ("east", "north")


def test_rejected_choices_are_open_where_the_present_plans_are_judged() -> None:
    rejected = Exclusion("north", "server", MODEL, 200.0, "no")
    job = pose("east", records(), (rejected,), cameras(TOTAL), {}, 100.0)
    assert isinstance(job, PlanningJob)
    closed, whole = job.problem, job.open_problem
    assert closed.stream("north").model not in closed.devices["server"].block_ms
    assert whole.stream("north").model in whole.devices["server"].block_ms


def test_the_present_problem_is_the_joint_one() -> None:
    problem = present_problem("west", records(), (), cameras(TOTAL), 100.0)
    assert isinstance(problem, Problem)
    assert [stream.name for stream in problem.streams] == list(CAMERAS)
    assert present_problem("moon", records(), (), cameras(TOTAL), 100.0) is None
    offline = after(cameras(TOTAL), presence("west", State.OFFLINE))
    assert present_problem("west", records(), (), offline, 100.0) == Waiting(("source device west is offline",))
