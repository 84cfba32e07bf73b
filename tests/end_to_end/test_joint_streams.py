"""Three cameras share a server that is not much faster than they are, planned alone and together: real processes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.strategies import strategies
from services.cli.support.fleet_operations import ask_planner, operator
from services.planner.decisions.committed_routes import StreamRoutes, joint_cost
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.devices import Profile
from shared.messages.events import EventKind, Reroute
from shared.messages.requests import Outcome, OutcomeStatus
from shared.policy import Objective
from tests.support.planned_executors import WAIT_S, PlannedExecutors, open_planned, photograph

CAMERAS, SERVER = ("east", "north", "west"), "server"
CAMERA_SLOWDOWN, SERVER_SLOWDOWN = 14.0, 8.0
ROUNDS = 4
SLACK = 1.1
"""What was left shortly before needs some gain to come back."""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[PlannedExecutors]:
    async with open_planned(tmp_path, (SERVER, *CAMERAS)) as opened:
        await opened.emulate(SERVER, SERVER_SLOWDOWN, **dict.fromkeys(CAMERAS, 100.0))
        for camera in CAMERAS:
            await opened.emulate(camera, CAMERA_SLOWDOWN, server=100.0)
            await opened.measure_links(camera, SERVER, 100.0)
        manifest = await opened.add("squeezenet")
        for camera in CAMERAS:
            await opened.declare(camera, manifest, camera)
        await opened.until(lambda: opened.plans.keys() >= set(CAMERAS))
        await level(opened, manifest.model)
        yield opened


async def level(fleet: PlannedExecutors, model: str) -> None:
    """Have the cameras as much slower than the server as they pretend to be, however busy this machine was."""
    async with Connection.open(fleet.settings) as connection, asyncio.timeout(WAIT_S):
        await connection.subscribe(topics.profiles(SERVER, model))
        server = Profile.decode((await anext(aiter(connection))).payload)
        ratio = CAMERA_SLOWDOWN / SERVER_SLOWDOWN
        block_ms = tuple(ratio * each for each in server.block_ms)
        overhead_ms = ratio * server.segment_overhead_ms
        for camera in CAMERAS:
            profile = Profile(device=camera, model=model, block_ms=block_ms, segment_overhead_ms=overhead_ms)
            await connection.publish(topics.profiles(camera, model), profile.encode(), retain=True)


def routes(fleet: PlannedExecutors) -> StreamRoutes:
    return {camera: fleet.plans[camera].routes for camera in CAMERAS}


def devices(fleet: PlannedExecutors) -> dict[str, list[str]]:
    return {camera: [stage.device for stage in own[0].stages] for camera, own in routes(fleet).items()}


def joint_reroutes(fleet: PlannedExecutors) -> list[Reroute]:
    found = [Reroute.model_validate(event.data) for event in fleet.events if event.kind is EventKind.REROUTE]
    return [reroute for reroute in found if reroute.together == CAMERAS]


async def present_problem(fleet: PlannedExecutors) -> Problem:
    async with operator(fleet.settings) as connection:
        answer = await ask_planner(connection, CAMERAS[0], timeout_s=WAIT_S)
    return read_problem(answer.problem)


async def settled(fleet: PlannedExecutors, policy: Mapping[str, object]) -> Problem:
    """Have all streams planned under a policy; return their problem once what is good for it is in force."""
    # New settings need a new plan even on the same route.
    retry_limit = fleet.plans[CAMERAS[0]].retry_limit + 1
    for camera in CAMERAS:
        await fleet.demand(camera, **policy, retry_limit=retry_limit, cooldown_ms=0, min_gain=0, codec="lossless")
    await fleet.until(lambda: {plan.retry_limit for plan in fleet.plans.values()} == {retry_limit})
    problem = await present_problem(fleet)
    best = strategies()["auto"].solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(best, Plan)
    names = [stream.name for stream in problem.streams]

    def is_good() -> bool:
        return joint_cost(problem, {name: routes(fleet)[name] for name in names}) < SLACK * best.cost

    await fleet.until(is_good)
    return problem


async def served(fleet: PlannedExecutors, name: str) -> list[Outcome]:
    """Send a photograph from every camera at once, several times; return what became of them."""
    found: list[Outcome] = []
    for number in range(ROUNDS):
        wanted = [f"{name}-{camera}-{number}" for camera in CAMERAS]
        for camera, request_id in zip(CAMERAS, wanted, strict=True):
            await fleet.submit(camera, photograph(), request_id)
        found += await asyncio.gather(*(fleet.outcome(request_id) for request_id in wanted))
    return found


async def test_cameras_that_share_a_server_are_planned_together(fleet: PlannedExecutors) -> None:
    await settled(fleet, {})
    alone, seen = routes(fleet), devices(fleet)
    assert set(map(tuple, seen.values())) == {(SERVER,)}, "each for itself is best off on the server"
    assert not joint_reroutes(fleet)
    outcomes = await served(fleet, "alone")

    problem = await settled(fleet, {"objective": "total_delay"})
    assert [stream.name for stream in problem.streams] == list(CAMERAS)
    assert problem.policy.objective is Objective.TOTAL_DELAY
    together = routes(fleet)
    assert devices(fleet) != seen
    assert joint_cost(problem, together) < 0.95 * joint_cost(problem, alone)
    reroute = joint_reroutes(fleet)[-1]
    assert reroute.objective == "total_delay"
    assert "together with" in reroute.reason
    outcomes += await served(fleet, "together")

    assert all(outcome.status is OutcomeStatus.OK for outcome in outcomes)
    assert len(fleet.outcomes) == len(outcomes) == 2 * ROUNDS * len(CAMERAS)
    assert {(SERVER,)} < {tuple(stage.device for stage in outcome.trace) for outcome in outcomes}
    first = outcomes[0]
    for outcome in outcomes:
        assert [each.index for each in outcome.top] == [each.index for each in first.top]
        assert [each.score for each in outcome.top] == pytest.approx([each.score for each in first.top], rel=1e-4)


async def test_a_camera_that_leaves_gives_the_others_the_server_again(fleet: PlannedExecutors) -> None:
    await settled(fleet, {"objective": "total_delay"})
    assert set(map(tuple, devices(fleet).values())) != {(SERVER,)}
    guest = next(camera for camera, way in devices(fleet).items() if SERVER in way)
    await fleet.demand(guest, devices={"deny": [SERVER]})
    await fleet.until(lambda: devices(fleet)[guest] == [guest])
    others = [camera for camera in CAMERAS if camera != guest]
    await fleet.until(lambda: any(SERVER in devices(fleet)[camera] for camera in others))
    outcomes = await served(fleet, "after")
    assert all(outcome.status is OutcomeStatus.OK for outcome in outcomes)
