"""A link drops, and the source takes the next best route before the planner has heard of it: real processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from planned_executors import PlannedExecutors, open_planned, photograph

from shared.messages.alternatives import Threshold
from shared.messages.events import EventKind
from shared.messages.requests import Outcome

CAMERA, SERVER, STREAM = "camera", "server", "door"
SLOWDOWN = 20.0


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[PlannedExecutors]:
    async with open_planned(tmp_path, (CAMERA, SERVER)) as opened:
        await opened.emulate(CAMERA, SLOWDOWN, server=100.0)
        await opened.emulate(SERVER, 1.0, camera=100.0)
        await opened.measure_links(CAMERA, SERVER, 100.0)
        await opened.declare(STREAM, await opened.add("tiny"), CAMERA)
        await opened.until(lambda: STREAM in opened.plans)
        yield opened


def way(outcome: Outcome) -> list[str]:
    return [stage.device for stage in outcome.trace]


def uplink(fleet: PlannedExecutors) -> Threshold | None:
    """Return what the planner says of the camera's link under the plan in force."""
    known = fleet.alternatives.get(STREAM)
    if known is None or known.epoch != fleet.plans[STREAM].epoch:
        return None
    return next((each for each in known.thresholds if (each.device, each.target) == (CAMERA, SERVER)), None)


async def test_the_source_switches_at_once_and_the_planner_confirms(fleet: PlannedExecutors) -> None:
    await fleet.demand(STREAM, devices={"allow": [CAMERA, SERVER]}, cooldown_ms=0, codec="lossless", max_in_flight=2)
    payload = photograph(480, 640)
    await fleet.submit(STREAM, payload, "first")
    assert way(await fleet.outcome("first"))[-1] == SERVER
    await fleet.until(lambda: (threshold := uplink(fleet)) is not None and threshold.below is not None)
    threshold, epoch = uplink(fleet), fleet.plans[STREAM].epoch
    assert threshold is not None and threshold.leave_below is not None and threshold.leave_below < threshold.low < 100.0
    # No monitor runs: nobody tells the planner.
    await fleet.emulate(CAMERA, SLOWDOWN, server=threshold.leave_below / 20)
    slow = await fleet.submit(STREAM, payload, "slow")
    await fleet.until(lambda: any(event.kind is EventKind.SWITCHED for event in fleet.events))
    await fleet.submit(STREAM, payload, "after")
    after = await fleet.outcome("after")
    assert threshold.below is not None
    assert (way(after), after.epoch) == ([stage.device for stage in threshold.below.stages], epoch)
    assert way(after) == [CAMERA] and fleet.plans[STREAM].epoch == epoch
    (event,) = [event for event in fleet.events if event.kind is EventKind.SWITCHED]
    assert event.origin == CAMERA and "worse than" in event.text
    await fleet.measure_links(CAMERA, SERVER, threshold.leave_below / 20)
    await fleet.until(lambda: fleet.plans[STREAM].epoch > epoch)
    assert [stage.device for stage in fleet.plans[STREAM].routes[0].stages] == [CAMERA]
    await fleet.outcome(slow[0])
