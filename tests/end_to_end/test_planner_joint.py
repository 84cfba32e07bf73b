"""Joint strategies by policy over a real broker: two streams of one source that share a server."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.strategies import strategies
from services.cli.support.fleet_operations import ask_planner, operator
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.messages.control import Prepare, Rejected, RejectionCause
from shared.messages.events import EventKind, Reroute
from shared.messages.streams import CommittedPlan
from tests.support.planner_fleet import Fleet, manifest_of, open_fleet, rejection

STREAMS = ("door", "yard")
ONE_MODEL_BYTES = 5_000_000
"""Memory for one segment with the whole model, which needs 4.6 MB."""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with EmbeddedBroker() as broker, open_fleet(broker.settings, 200.0) as opened:
        planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path, time_budget_s=0.1)))
        await opened.come()
        await opened.publish_manifest(manifest_of())
        yield opened
        planner.cancel()
        await asyncio.wait([planner], timeout=10.0)


async def both_on_the_server(fleet: Fleet) -> None:
    for stream in STREAMS:
        await fleet.declare(stream)
    await fleet.watcher.until(lambda: devices(fleet) == dict.fromkeys(STREAMS, "server") or None, "plans")


def newest(fleet: Fleet) -> dict[str, CommittedPlan]:
    return {plan.stream: plan for plan in fleet.watcher.plans}


def devices(fleet: Fleet) -> dict[str, str]:
    return {name: plan.routes[0].stages[-1].device for name, plan in newest(fleet).items()}


async def demand(fleet: Fleet, **policy: object) -> None:
    for stream in STREAMS:
        await fleet.set_policy(json.dumps({**policy, "cooldown_ms": 0, "revision": "r"}), stream)
    for stream in STREAMS:
        await fleet.watcher.judged(stream, "r")


async def joint_reroute(fleet: Fleet) -> Reroute:
    event = await fleet.watcher.event(
        EventKind.REROUTE, lambda event: Reroute.model_validate(event.data).together == STREAMS
    )
    return Reroute.model_validate(event.data)


@pytest.mark.parametrize("strategy", ["kafetzis_koutsopoulos", "rank_assignment"])
async def test_strategies_for_a_shared_server(fleet: Fleet, strategy: str) -> None:
    fleet.server.block_ms = (4.0, 24.0, 24.0, 24.0, 24.0)
    await both_on_the_server(fleet)
    await demand(fleet, strategy=strategy, objective="total_delay")
    reroute = await joint_reroute(fleet)
    assert reroute.predicted_before is not None
    assert reroute.predicted_after < reroute.predicted_before
    async with operator(fleet.settings) as connection:
        explained = await ask_planner(connection, "yard", timeout_s=10.0)
    problem = read_problem(explained.problem)
    assert tuple(stream.name for stream in problem.streams) == STREAMS
    answer = strategies()[strategy].solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(answer, Plan)
    assert reroute.predicted_after == pytest.approx(answer.cost)
    chosen = {name: plan.routes[0].devices[-1] for name, plan in answer.streams.items()}
    await fleet.watcher.until(lambda: devices(fleet) == chosen or None, "the joint plan")


async def test_milp_gives_the_servers_memory_to_whom_it_helps_most(fleet: Fleet) -> None:
    """Planned alone, the first stream takes it."""
    await fleet.server.come(memory_bytes=ONE_MODEL_BYTES)
    await fleet.declare("door")
    await fleet.watcher.plan(lambda plan: plan.stream == "door")
    fleet.pi.block_ms = tuple(2 * each for each in fleet.pi.block_ms)
    await fleet.publish_manifest(manifest_of("b" * 64, "heavy"))
    await fleet.declare("yard", model="heavy")
    await fleet.watcher.plan(lambda plan: plan.stream == "yard")
    assert devices(fleet) == {"door": "server", "yard": "pi"}
    await demand(fleet, strategy="milp")
    reroute = await joint_reroute(fleet)
    assert reroute.objective == "latency"
    await fleet.watcher.until(lambda: devices(fleet) == {"door": "pi", "yard": "server"} or None, "the joint plan")


async def test_a_rejection_has_the_group_planned_again(fleet: Fleet) -> None:
    await both_on_the_server(fleet)
    refused: list[str] = []

    def reject(prepare: Prepare) -> Rejected | None:
        refused.append(prepare.stream)
        return rejection(prepare, "pi", RejectionCause.ERROR, "no room") if prepare.stream == refused[0] else None

    fleet.pi.reject = reject
    await demand(fleet, objective="total_delay")
    await fleet.server.set_load(20.0)
    event = await fleet.watcher.event(EventKind.REJECTION)
    await fleet.watcher.until(lambda: list(devices(fleet).values()).count("pi") == 1 or None, "the other one")
    assert devices(fleet)[refused[0]] == "server"
    assert event.stream == refused[0]
