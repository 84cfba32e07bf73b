"""A link sinks, and the source takes another cut and another encoding by itself: real processes, a calibrated model."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli.calibration import MeasureSettings, measure, read_samples
from services.cli.support.fleet_operations import add_model
from services.executor.segments.coding import Coder
from shared.bus import topics
from shared.codecs import load_registry
from shared.messages.alternatives import Threshold, ThresholdQuantity
from shared.messages.calibration import BlockCalibration, Calibration
from shared.messages.events import EventKind
from shared.messages.models import Manifest, Preprocessing
from shared.messages.requests import Outcome
from shared.messages.streams import PlanRoute
from shared.model.onnx_file import load_model
from tests.support.planned_executors import PlannedExecutors, classifier, open_planned
from tests.support.shared_paths import REPOSITORY

CAMERA, SERVER, STREAM = "camera", "server", "door"
SLOWDOWN, FAST_MBPS = 16.0, 200.0
DATA = REPOSITORY / "services" / "cli" / "data"
SQUEEZENET = DATA / "squeezenet1.1.onnx"
PREPROCESSING = Preprocessing(kind="image", channel_order="BGR", mean=(104.0, 117.0, 123.0))
POLICY = {
    "raw_input_stays_on_source": True,
    "codec": "auto",
    "min_top1_agreement": 1.0,
    "max_relative_error": 1.0,
    "cooldown_ms": 0,
    "max_in_flight": 1,
}


FLOP_PER_MS, CODED_BYTES_PER_MS = 2e7, 1e6
"""What a device of speed 1 does: decisions must not depend on how busy this machine is."""


def timed(block: BlockCalibration) -> BlockCalibration:
    took_ms = block.raw_bytes / CODED_BYTES_PER_MS
    codecs = (
        calibration.model_copy(update={"encode_ms": took_ms, "decode_ms": took_ms}) for calibration in block.codecs
    )
    return block.model_copy(update={"codecs": tuple(codecs)})


def calibrated(manifest: Manifest) -> Calibration:
    """Measure every encoding behind every useful cut, on the first photographs: as `segue model calibrate` does."""
    samples = read_samples(DATA / "photos", manifest)
    settings = MeasureSettings(only_useful=True, timed_samples=1, repetitions=1)
    coder = Coder(load_registry(), settings.engine)
    found = measure(load_model(SQUEEZENET), replace(samples, inputs=samples.inputs[:3]), coder, settings)
    return found.model_copy(update={"blocks": tuple(timed(block) for block in found.blocks)})


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[PlannedExecutors]:
    async with open_planned(tmp_path, (CAMERA, SERVER)) as opened:
        await opened.emulate(CAMERA, SLOWDOWN, server=FAST_MBPS)
        await opened.emulate(SERVER, 1.0, camera=FAST_MBPS)
        await opened.measure_links(CAMERA, SERVER, FAST_MBPS)
        manifest = classifier(SQUEEZENET, PREPROCESSING)
        opened.remember(manifest, tuple(block.flops / FLOP_PER_MS for block in manifest.blocks))
        await add_model(opened.settings, manifest, SQUEEZENET)
        await opened.connection.publish(topics.calibration(manifest.model), calibrated(manifest).encode(), retain=True)
        await opened.declare(STREAM, manifest, CAMERA)
        await opened.until(lambda: STREAM in opened.plans)
        yield opened


def way(outcome: Outcome) -> list[tuple[str, int, int, str]]:
    return [(stage.device, stage.start, stage.stop, stage.codec) for stage in outcome.trace]


def stages_of(route: PlanRoute) -> list[tuple[str, int, int, str]]:
    return [(stage.device, stage.start, stage.stop, stage.codec) for stage in route.stages]


def uplink(fleet: PlannedExecutors) -> Threshold | None:
    """Return what the planner says of the camera's link under the plan in force, once it leads somewhere."""
    known = fleet.alternatives.get(STREAM)
    if known is None or known.epoch != fleet.plans[STREAM].epoch:
        return None
    found = next(
        (threshold for threshold in known.thresholds if threshold.quantity is ThresholdQuantity.BANDWIDTH), None
    )
    return None if found is None or found.below is None else found


async def test_cut_and_encoding_change_together_before_the_planner_knows(fleet: PlannedExecutors) -> None:
    await fleet.demand(STREAM, **POLICY)
    await fleet.until(lambda: fleet.plans[STREAM].routes[0].stages[0].codec != "raw" and uplink(fleet) is not None)
    photograph = (DATA / "photos" / "astronaut.jpg").read_bytes()
    await fleet.submit(STREAM, photograph, "first")
    first = await fleet.outcome("first")
    plan, threshold = fleet.plans[STREAM], uplink(fleet)
    assert way(first) == stages_of(plan.routes[0])
    assert first.epoch == plan.epoch
    assert threshold is not None
    assert threshold.below is not None
    assert threshold.leave_below is not None
    before, after = plan.routes[0].stages[0], threshold.below.stages[0]
    assert before.device == after.device == CAMERA
    assert before.stop < after.stop, "cut and encoding change together"
    assert before.codec != after.codec, "cut and encoding change together"
    below = threshold.below
    await fleet.until(lambda: all(fleet.holds(STREAM, plan.epoch, stage) for stage in below.stages))
    # No monitor runs: nobody tells the planner. Processing at the ends is no reason to leave the link, and is up to a
    # fifth of a transfer here.
    slow_mbps = threshold.leave_below * 0.6
    await fleet.emulate(CAMERA, SLOWDOWN, server=slow_mbps)
    prepared = len(fleet.prepares)
    await fleet.submit(STREAM, photograph, "slow", "slower", "after")
    switched = await fleet.outcome("after")
    assert way(switched) == stages_of(below)
    assert switched.epoch == plan.epoch == fleet.plans[STREAM].epoch
    assert len(fleet.prepares) == prepared, "what it needs was there"
    assert switched.top[0].index == first.top[0].index
    (event,) = [event for event in fleet.events if event.kind is EventKind.SWITCHED]
    assert event.origin == CAMERA
    assert f"link {CAMERA}->{SERVER}" in event.text
    await fleet.measure_links(CAMERA, SERVER, slow_mbps)
    await fleet.until(lambda: fleet.plans[STREAM].epoch > plan.epoch)
    confirmed = fleet.plans[STREAM].routes[0].stages[0]
    assert confirmed.stop == after.stop
    assert confirmed.codec != before.codec
