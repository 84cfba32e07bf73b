"""Devices whose wall clocks are hours and years apart, and clocks that are set while requests are under way."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from shared.client import Client
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan
from tests.support.stepped_clock import SteppedClock, build_library, can_step_clocks
from tests.support.whole_fleet import BROKER, CAMERA, EVERYTHING, FLEET, HELPER, SERVER, WholeFleet, open_fleet

STREAM = "door"
OFFSETS_S = {
    f"executor-{CAMERA}": 0.0,
    f"executor-{HELPER}": 3600.0,
    f"executor-{SERVER}": -3600.0,
    "planner": 86_400.0,
    "collector": -300.0,
}
pytestmark = [
    pytest.mark.skipif(not can_step_clocks(), reason="the library that steps clocks needs a C compiler"),
    pytest.mark.timeout(180),
]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[WholeFleet, dict[str, SteppedClock]]]:
    library = build_library(tmp_path)
    services = [part for part in EVERYTHING if part != BROKER]
    clocks = {name: SteppedClock(library, tmp_path / f"{name}.clock") for name in services}
    for name, clock in clocks.items():
        clock.step(OFFSETS_S.get(name, 0.0))
    environments = {name: clock.environment for name, clock in clocks.items()}
    async with open_fleet(EmbeddedBroker(), tmp_path, environments=environments) as fleet:
        yield fleet, clocks


async def test_latencies_and_traces_are_right_and_nothing_waits_for_a_clock(
    running: tuple[WholeFleet, dict[str, SteppedClock]],
) -> None:
    fleet, clocks = running
    await fleet.declare(STREAM)
    async with Client.open(fleet.broker.settings) as client:
        for outcome, took_s in await submitted(client, fleet, 4):
            check(outcome, took_s)
        # As when a device without a battery learns the time, and the other way round.
        clocks[f"executor-{CAMERA}"].step_to_1970()
        clocks[f"executor-{SERVER}"].step(7200.0)
        clocks["planner"].step_to_1970()
        for outcome, took_s in await submitted(client, fleet, 4):
            check(outcome, took_s)
        await fleet.set_policy(STREAM, replace(FLEET.policy, max_in_flight=3))
        await fleet.watcher.until(lambda: plan_of(fleet).max_in_flight == 3, "the policy in force")
        await fleet.kill(f"executor-{CAMERA}")
        await fleet.restart(f"executor-{CAMERA}")
        for outcome, took_s in await submitted(client, fleet, 2):
            check(outcome, took_s)
    assert fleet.processes.died() is None


def plan_of(fleet: WholeFleet) -> CommittedPlan:
    plan = fleet.watcher.view.streams[STREAM].plan
    assert plan is not None
    return plan


async def submitted(client: Client, fleet: WholeFleet, count: int) -> list[tuple[Outcome, float]]:
    """Submit requests one after the other; return their outcomes, and the time that each took here."""
    outcomes = []
    for payload in itertools.islice(itertools.cycle(fleet.workload.payloads), count):
        began_s = time.monotonic()
        outcome = await client.submit(STREAM, payload, timeout_s=90)
        outcomes.append((outcome, time.monotonic() - began_s))
        await asyncio.sleep(0)
    return outcomes


def check(outcome: Outcome, took_s: float) -> None:
    """Check that all times of an outcome follow each other, within the time that the request took."""
    assert outcome.status is OutcomeStatus.OK
    times_s = [outcome.accepted_at_s, outcome.dispatched_at_s]
    for stage in outcome.trace:
        times_s += [stage.received_at_s, *(() if stage.sent_at_s is None else (stage.sent_at_s,))]
    times_s.append(outcome.completed_at_s)
    # A millisecond of error: the offsets are estimated.
    assert all(later >= sooner - 0.001 for sooner, later in itertools.pairwise(times_s)), times_s
    assert outcome.completed_at_s - outcome.accepted_at_s <= took_s
    compute_s = sum(stage.compute_ms for stage in outcome.trace) / 1000
    assert compute_s <= outcome.completed_at_s - outcome.accepted_at_s
