"""Every strategy by policy over a real broker: in force, or refused with reasons; bursts in order."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from planning.strategies import strategies
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.messages.streams import CommittedPlan, StreamPhase, StreamStatus
from shared.policy import Objective
from tests.support.planner_fleet import Fleet, manifest_of, open_fleet

JOBS = 6


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with EmbeddedBroker() as broker, open_fleet(broker.settings) as opened:
        planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path, time_budget_s=0.1)))
        await opened.come()
        await opened.publish_manifest(manifest_of())
        await opened.declare(jobs=JOBS)
        await opened.watcher.plan()
        yield opened
        planner.cancel()
        await asyncio.wait([planner], timeout=10.0)


async def judged(fleet: Fleet, **policy: object) -> StreamStatus:
    """Publish a policy and return its status, once the stream has settled under it."""
    revision = json.dumps(policy)[:60]
    await fleet.set_policy(json.dumps({**policy, "revision": revision}))
    return await fleet.watcher.status(
        lambda status: status.policy_revision == revision and status.state is StreamPhase.RUNNING
    )


def runs(plan: CommittedPlan) -> list[tuple[str, int]]:
    return [("".join(stage.device[0] for stage in route.stages), route.weight) for route in plan.routes]


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.MAKESPAN, Objective.TOTAL_DELAY])
async def test_every_strategy_is_in_force_or_refused_with_reasons(fleet: Fleet, objective: Objective) -> None:
    refused = {}
    for name in strategies():
        status = await judged(fleet, objective=objective, strategy=name)
        if not status.policy_accepted:
            refused[name] = status.policy_reasons
    assert all(any(name in reason for reason in reasons) for name, reasons in refused.items()), refused
    assert not refused.keys() & {"auto", "jps", "dads", "hu_mishra", "local_only", "remote_only"}, refused


async def test_a_burst_is_committed_in_the_order_of_johnsons_rule(fleet: Fleet) -> None:
    for device in (fleet.pi, fleet.server):
        await device.set_links(dict.fromkeys(device.link_mbps, 20.0))
    await judged(fleet, objective="makespan", strategy="jps")
    plan = await fleet.watcher.plan(lambda plan: plan.strategy == "jps")
    assert plan.jobs == JOBS
    assert sum(route.weight for route in plan.routes) == JOBS
    on_pi = [sum(stage.stop - stage.start for stage in route.stages if stage.device == "pi") for route in plan.routes]
    assert len(plan.routes) > 1
    assert on_pi == sorted(on_pi)


async def test_a_burst_of_another_size_is_planned_again(fleet: Fleet) -> None:
    await judged(fleet, objective="makespan", strategy="local_only")
    await fleet.watcher.plan(lambda plan: runs(plan) == [("p", JOBS)])
    await fleet.declare(jobs=JOBS + 3)
    plan = await fleet.watcher.plan(lambda plan: runs(plan) == [("p", JOBS + 3)])
    assert plan.jobs == JOBS + 3
    assert "a burst has 9 requests now" in plan.reason
