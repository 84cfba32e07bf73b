"""Encodings within the bounds of a policy, and withdrawal of one by shadow checks."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus import topics
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, ShadowReport
from shared.messages.events import EventKind
from shared.messages.streams import CommittedPlan
from tests.support.planner_fleet import MODEL, Fleet, manifest_of, open_fleet

SLOW_MBPS = 2.0
"""The photograph takes 400 ms, raw tensors more, the pi alone 165 ms."""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with EmbeddedBroker() as broker, open_fleet(broker.settings, SLOW_MBPS) as opened:
        planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path, time_budget_s=0.1)))
        yield opened
        planner.cancel()
        await asyncio.wait([planner], timeout=10.0)


def calibration() -> Calibration:
    def codec(name: str, size_bytes: int, agreement: float) -> CodecCalibration:
        return CodecCalibration(
            codec=name,
            size_bytes=size_bytes,
            worst_size_bytes=size_bytes,
            encode_ms=1.0,
            decode_ms=1.0,
            top1_agreement=agreement,
            max_relative_error=1 - agreement,
        )

    codecs = (codec("raw", 400_000, 1.0), codec("uint8+zstd", 2_000, 1.0), codec("uint4+zstd", 500, 0.8))
    blocks = (BlockCalibration(block=1, raw_bytes=400_000, codecs=codecs),)
    return Calibration(model=MODEL, blocks=blocks, samples=30, measured_at_s=1.0)


def codecs_of(plan: CommittedPlan) -> list[str]:
    return [stage.codec for route in plan.routes for stage in route.stages[:-1]]


async def start(fleet: Fleet) -> CommittedPlan:
    measured = calibration()
    await fleet.connection.publish(topics.calibration(MODEL), measured.encode(), retain=True)
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    return await fleet.watcher.plan()


async def test_the_cut_is_where_an_encoding_makes_it_pay(fleet: Fleet) -> None:
    plan = await start(fleet)
    stages = plan.routes[0].stages
    assert [(stage.start, stage.stop, stage.device, stage.codec) for stage in stages] == [
        (0, 2, "pi", "uint8+zstd"),
        (2, 5, "server", "raw"),
    ]
    # The server counts as the device that calibrated: the pi takes 165 / 21 times as long to encode.
    assert plan.routes[0].predicted_ms == pytest.approx(45 + 165 / 21 + 2 + 8 + 1 + 15)


async def test_the_bound_of_a_policy_decides_which(fleet: Fleet) -> None:
    await start(fleet)
    await fleet.set_policy(json.dumps({"min_top1_agreement": 0.75}))
    assert codecs_of(await fleet.watcher.plan(lambda plan: plan.epoch == 2)) == ["uint4+zstd"]
    await fleet.set_policy(json.dumps({"codec": "lossless"}))
    assert codecs_of(await fleet.watcher.plan(lambda plan: plan.epoch == 3)) == []


async def test_an_encoding_that_does_worse_in_the_field_is_withdrawn(fleet: Fleet) -> None:
    assert codecs_of(await start(fleet)) == ["uint8+zstd"]
    report = ShadowReport(device="pi", model=MODEL, stream="camera", block=1, codec="uint8+zstd", top1_agreement=0.0)
    await fleet.connection.publish(topics.shadow(MODEL), report.encode())
    event = await fleet.watcher.event(EventKind.CODEC_WITHDRAWN)
    assert event.stream == "camera"
    assert "uint8+zstd behind block 1 of net" in event.text
    plan = await fleet.watcher.plan(lambda plan: plan.epoch == 2)
    assert codecs_of(plan) == []
    reroute = await fleet.watcher.event(EventKind.REROUTE, lambda event: event.data["epoch"] == 2)
    assert "encoding uint8+zstd is not allowed" in reroute.text
