"""Link or load change, and the source takes the next best route before the planner has heard of it: real processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.messages.alternatives import Threshold, ThresholdQuantity
from shared.messages.events import Event, EventKind
from shared.messages.requests import Outcome
from tests.support.planned_executors import PlannedExecutors, open_planned, photograph

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


def planned(fleet: PlannedExecutors) -> list[str]:
    return [stage.device for stage in fleet.plans[STREAM].routes[0].stages]


def threshold_of(fleet: PlannedExecutors, quantity: ThresholdQuantity) -> Threshold | None:
    """Return what the planner says of the camera's link, or of its load, under the plan in force."""
    known = fleet.alternatives.get(STREAM)
    if known is None or known.epoch != fleet.plans[STREAM].epoch:
        return None
    return next(
        (threshold for threshold in known.thresholds if (threshold.quantity, threshold.device) == (quantity, CAMERA)),
        None,
    )


def uplink(fleet: PlannedExecutors) -> Threshold | None:
    return threshold_of(fleet, ThresholdQuantity.BANDWIDTH)


def own_load(fleet: PlannedExecutors) -> Threshold | None:
    return threshold_of(fleet, ThresholdQuantity.LOAD)


def switches(fleet: PlannedExecutors) -> list[Event]:
    return [event for event in fleet.events if event.kind is EventKind.SWITCHED]


async def test_the_source_switches_at_once_and_the_planner_confirms(fleet: PlannedExecutors) -> None:
    await fleet.demand(STREAM, devices={"allow": [CAMERA, SERVER]}, cooldown_ms=0, codec="lossless", max_in_flight=2)
    payload = photograph(480, 640)
    await fleet.submit(STREAM, payload, "first")
    assert way(await fleet.outcome("first"))[-1] == SERVER
    await fleet.until(lambda: (threshold := uplink(fleet)) is not None and threshold.below is not None)
    threshold, epoch = uplink(fleet), fleet.plans[STREAM].epoch
    assert threshold is not None
    assert threshold.leave_below is not None
    assert threshold.leave_below < threshold.low < 100.0
    # No monitor runs: nobody tells the planner.
    await fleet.emulate(CAMERA, SLOWDOWN, server=threshold.leave_below / 20)
    slow = await fleet.submit(STREAM, payload, "slow")
    await fleet.until(lambda: switches(fleet))
    await fleet.submit(STREAM, payload, "after")
    after = await fleet.outcome("after")
    assert threshold.below is not None
    assert (way(after), after.epoch) == ([stage.device for stage in threshold.below.stages], epoch)
    assert way(after) == [CAMERA]
    assert fleet.plans[STREAM].epoch == epoch
    (event,) = switches(fleet)
    assert event.origin == CAMERA
    assert "worse than" in event.text
    await fleet.measure_links(CAMERA, SERVER, threshold.leave_below / 20)
    await fleet.until(lambda: fleet.plans[STREAM].epoch > epoch)
    assert planned(fleet) == [CAMERA]
    await fleet.outcome(slow[0])


SLOW_MBPS = 2.0
"""The photograph takes longer than the camera needs for the model."""


async def test_the_source_switches_when_its_own_computing_slows_down(fleet: PlannedExecutors) -> None:
    await fleet.emulate(CAMERA, SLOWDOWN, server=SLOW_MBPS)
    await fleet.measure_links(CAMERA, SERVER, SLOW_MBPS)
    await fleet.demand(STREAM, devices={"allow": [CAMERA, SERVER]}, cooldown_ms=0, codec="lossless", max_in_flight=1)
    await fleet.until(lambda: planned(fleet) == [CAMERA])
    payload = photograph(240, 320)
    await fleet.submit(STREAM, payload, "first")
    assert way(await fleet.outcome("first")) == [CAMERA]
    await fleet.until(lambda: (threshold := own_load(fleet)) is not None and threshold.above is not None)
    threshold, epoch = own_load(fleet), fleet.plans[STREAM].epoch
    assert threshold is not None
    assert threshold.leave_above is not None
    assert threshold.above is not None
    assert 1.0 < threshold.high < threshold.leave_above
    assert threshold.sharing == 1.0
    load = 1.3 * threshold.leave_above
    # No monitor runs: nobody tells the planner.
    await fleet.emulate(CAMERA, SLOWDOWN, load_factor=load, server=SLOW_MBPS)
    await fleet.submit(STREAM, payload, "slow", "slower", "after")
    after = await fleet.outcome("after")
    assert [way(fleet.outcomes[request_id]) for request_id in ("slow", "slower")] == [[CAMERA], [CAMERA]]
    assert way(after) == [stage.device for stage in threshold.above.stages]
    assert way(after)[-1] == SERVER
    assert after.epoch == epoch == fleet.plans[STREAM].epoch
    (event,) = switches(fleet)
    assert event.origin == CAMERA
    assert f"load factor of {CAMERA}" in event.text
    assert "worse than" in event.text
    await fleet.measure_load(CAMERA, load)
    await fleet.until(lambda: fleet.plans[STREAM].epoch > epoch)
    assert planned(fleet) == way(after)
    await fleet.submit(STREAM, payload, "last")
    assert way(await fleet.outcome("last")) == way(after)
    assert switches(fleet) == [event]
