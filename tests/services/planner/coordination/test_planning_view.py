"""The problem of a stream and of those planned with it, from the planner's state."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from planning.files.problem_file import read_problem
from planning.problem.problem import Problem
from services.planner.coordination import planning_view
from services.planner.coordination.planned_stream import PlannedStream
from services.planner.coordination.planning_view import PlanningView
from services.planner.coordination.restore import adopted
from services.planner.problems.planning_jobs import PlanningJob
from services.planner.problems.policies import PolicyRequest
from services.planner.problems.problem_from_snapshot import Exclusion
from services.planner.problems.profile_requests import Measurement, Measurements, ProfileKey
from services.planner.problems.readiness import Waiting
from services.planner.problems.snapshot import FleetSnapshot, PolicySet
from shared.messages.base import MAX_MESSAGE_BYTES
from shared.messages.devices import State
from shared.messages.explanations import Question
from shared.messages.streams import CommittedPlan, StreamUsage
from shared.policy import Objective, Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import CAMERAS, after, cameras, declaration, presence, problem_of, route, world

TOTAL = Policy(objective=Objective.TOTAL_DELAY)


def plan(stream: str, device: str) -> CommittedPlan:
    routes = (route((0, 5, device)),)
    return CommittedPlan(stream=stream, epoch=1, model=MODEL, source="east", strategy="auto", routes=routes)


def state(stream: str, device: str | None = "server", *, is_declared: bool = True) -> PlannedStream:
    """Return a stream that runs on a device, or has no plan."""
    made = PlannedStream(stream, "planner")
    if is_declared:
        made.declare()
    if device is not None:
        committed = plan(stream, device)
        made.plan_seen(committed, adopted(committed, Policy()), 100.0)
    made.validate()
    return made


def view(
    snapshot: FleetSnapshot,
    *names: str,
    exclusions: Sequence[Exclusion] = (),
    measurements: Measurements | None = None,
    **others: PlannedStream,
) -> PlanningView:
    states = {**{name: state(name) for name in (names or CAMERAS)}, **others}
    return PlanningView(states, exclusions, snapshot, measurements or {}, 100.0)


def posed(stream: str, seen: PlanningView) -> PlanningJob:
    job = seen.job(stream)
    assert isinstance(job, PlanningJob)
    return job


def test_a_group_has_one_job_whichever_stream_is_due() -> None:
    snapshot = cameras(TOTAL)
    jobs = [posed(name, view(snapshot)) for name in CAMERAS]
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
    server = posed("east", view(snapshot)).problem.devices["server"]
    assert (server.memory_bytes, server.load_factor) == (10_000_000, 1.0)
    server = posed("east", view(snapshot, *CAMERAS, "other")).problem.devices["server"]
    assert server.memory_bytes == 10_000_000 - 4_600_000
    assert server.load_factor == 2.0


def test_streams_that_cannot_be_planned_yet_are_left_out() -> None:
    snapshot = after(cameras(TOTAL), presence("west", State.OFFLINE))
    assert posed("east", view(snapshot)).streams == ("east", "north")
    assert view(snapshot).job("west") == Waiting(("source device west is offline",))
    undeclared = view(snapshot, west=state("west", None, is_declared=False))
    assert undeclared.job("west") == Waiting(("the stream is not declared",))


def test_only_a_first_plan_waits_for_devices_that_measure() -> None:
    measuring = {ProfileKey("server", MODEL, manifest_of(MODEL).graph_version()): Measurement("boot1", 99.0, 100.0)}
    seen = view(cameras(TOTAL), measurements=measuring, north=state("north", None))
    job = seen.job("east")
    assert isinstance(job, PlanningJob)
    assert job.streams == ("east", "west")
    waiting = seen.job("north")
    assert waiting == Waiting(("device server is measuring model net",))


def test_a_policy_under_judgement_is_posed_in_the_group_it_would_join() -> None:
    seen = view(after(cameras(TOTAL), PolicySet("west", None)))
    assert posed("west", seen).streams == ("west",)
    request = PolicyRequest("r", replace(TOTAL, deadline_ms=900.0))
    seen.states["west"].policy.requested(request)
    job = posed("west", seen)
    assert (job.stream, job.streams, job.request) == ("west", CAMERAS, request)
    assert job.problem.stream("west").deadline_ms == 900.0
    assert posed("east", seen).streams == ("east", "north")


def test_rejected_choices_are_open_where_the_present_plans_are_judged() -> None:
    rejected = Exclusion("north", "server", MODEL, 200.0, "no")
    job = posed("east", view(cameras(TOTAL), exclusions=(rejected,)))
    closed, whole = job.problem, job.open_problem
    assert closed.stream("north").model not in closed.devices["server"].block_ms
    assert whole.stream("north").model in whole.devices["server"].block_ms


def test_the_present_problem_is_the_joint_one() -> None:
    problem = view(cameras(TOTAL)).problem("west")
    assert isinstance(problem, Problem)
    assert [stream.name for stream in problem.streams] == list(CAMERAS)
    assert view(cameras(TOTAL)).problem("moon") is None
    offline = after(cameras(TOTAL), presence("west", State.OFFLINE))
    assert view(offline).problem("west") == Waiting(("source device west is offline",))


QUESTION = Question(stream="camera", asker="me")


def test_an_explanation_is_a_problem_file() -> None:
    snapshot = world(declaration(jobs=3))
    answer = view(snapshot, camera=state("camera", None)).explanation(QUESTION)
    assert (answer.stream, answer.asker, answer.epoch, answer.reasons) == ("camera", "me", 0, ())
    assert read_problem(answer.problem) == problem_of(snapshot)


def test_without_a_problem_an_explanation_has_reasons() -> None:
    offline = view(after(world(), presence("pi", State.OFFLINE)), camera=state("camera", None)).explanation(QUESTION)
    assert (offline.problem, offline.reasons) == ("", ("source device pi is offline",))
    unknown = view(FleetSnapshot()).explanation(QUESTION)
    assert unknown.reasons == ("there is no stream camera",)


def test_a_problem_that_fits_in_no_message_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert planning_view.MAX_PROBLEM_BYTES < MAX_MESSAGE_BYTES
    monkeypatch.setattr(planning_view, "MAX_PROBLEM_BYTES", 1000)
    answer = view(world(), camera=state("camera", None)).explanation(QUESTION)
    assert answer.problem == ""
    assert "more than may be sent (1000)" in answer.reasons[0]
