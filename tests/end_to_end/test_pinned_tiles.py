"""A pinned route with tiles: real planner, executors as processes, one of them killed in the middle of a stage."""

from pathlib import Path

import numpy as np
import pytest

from services.executor.segments.engine import EngineSettings, load_session
from services.executor.segments.prepare import prepare
from shared.messages.models import Manifest
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import route_text
from tests.support.planned_executors import PlannedExecutors, open_planned, photograph

DEVICES = ("camera", "left", "right")
STREAM = "door"
REQUESTS = 16
# Outputs of blocks 3 and 5 of the model have 16 and 8 rows.
ON_THREE = "camera[0,1) > camera:0-5+left:5-11+right:11-16[1,4) > left:0-4+right:4-8[4,6) > camera[6,8)"
ON_TWO = "camera[0,1) > camera:0-8+right:8-16[1,4) > camera[4,8)"


def best(manifest: Manifest, path: Path, payload: bytes) -> list[float]:
    """Return the five best scores of the whole model."""
    (logits,) = load_session(path.read_bytes(), EngineSettings()).run(prepare(payload, manifest)).values()
    scores = logits.reshape(-1).astype(np.float64)
    shares = np.exp(scores - scores.max())
    return sorted((shares / shares.sum()).tolist(), reverse=True)[:5]


async def pin(fleet: PlannedExecutors, route: str) -> None:
    await fleet.demand(STREAM, strategy="pinned", route=route, max_in_flight=4, cooldown_ms=0)
    await fleet.until(lambda: STREAM in fleet.plans and route_text(fleet.plans[STREAM].routes[0]) == route)


@pytest.mark.timeout(180)
async def test_a_device_that_dies_in_a_stage_of_tiles_loses_no_request(tmp_path: Path) -> None:
    async with open_planned(tmp_path, DEVICES) as fleet:
        manifest = await fleet.add("tiny")
        await fleet.measure_all_links(DEVICES, 100.0)
        await fleet.declare(STREAM, manifest, "camera")
        await pin(fleet, ON_THREE)
        # Slow enough that requests are always under way there.
        await fleet.emulate("left", 50.0)
        payload = photograph()
        ids = await fleet.submit(STREAM, payload, *(f"r{number}" for number in range(REQUESTS)))
        await fleet.until(lambda: len(fleet.outcomes) >= 2)
        tiled = next(iter(fleet.outcomes.values()))
        assert {(entry.device, entry.rows) for entry in tiled.trace if entry.start == 1} == {
            ("camera", (0, 5)),
            ("left", (5, 11)),
            ("right", (11, 16)),
        }
        fleet.processes["left"].kill()
        await pin(fleet, ON_TWO)
        outcomes = [await fleet.outcome(request_id) for request_id in ids]
        check(fleet, outcomes, best(manifest, tmp_path / "tiny.onnx", payload))
        assert any(outcome.attempt > 1 for outcome in outcomes)


def check(fleet: PlannedExecutors, outcomes: list[Outcome], expected: list[float]) -> None:
    """Check that every request has the right result, and no other one."""
    for outcome in outcomes:
        assert outcome.status is OutcomeStatus.OK, outcome.error
        np.testing.assert_allclose([each.score for each in outcome.top], expected, rtol=1e-5)
        # A source repeats a result until it is confirmed: the same one each time.
        assert {each.attempt for each in fleet.results if each.request_id == outcome.request_id} == {outcome.attempt}
