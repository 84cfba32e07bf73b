"""Shadow checks with a real model, processor and broker."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.feature_maps import encode_tensors
from services.executor.outbox import Outbox
from services.executor.segments.coding import Coder
from services.executor.segments.compute_queue import Ticket
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.engine import EngineSettings
from services.executor.segments.lifecycle import SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profiler import sample_request
from services.executor.segments.segment import REQUEST_TENSOR, build_segments
from services.executor.segments.segment_events import SegmentKey
from services.executor.segments.segment_pool import SegmentPool
from services.executor.segments.shadow_check import SentStage, ShadowCheck
from shared.bus import topics
from shared.bus.connection import Connection
from shared.codecs import load_registry
from shared.messages.calibration import ShadowReport
from shared.messages.control import Ready, Rejected
from shared.messages.models import Manifest
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage
from tests.support.task_groups import cancelled_at_the_end

CUT = 2
CODER = Coder(load_registry(), EngineSettings())


@dataclass
class Bench:
    """A running check of every second feature map, and a connection that hears its reports."""

    check: ShadowCheck
    processor: Processor
    ear: Connection
    sent: SentStage


async def _ignore(answer: Ready | Rejected) -> None:
    raise AssertionError(f"nobody asked for {answer}")


async def _sent(manifest: Manifest, store: ModelCache) -> SentStage:
    """Return the output of the blocks before the cut, as computed and as sent."""
    key = SegmentKey(manifest.model, 0, CUT)
    path = await store.path(manifest)
    head = (await asyncio.to_thread(build_segments, path, manifest, (key,), EngineSettings()))[key]
    arrays = head.run({REQUEST_TENSOR: np.frombuffer(sample_request(manifest), np.uint8)})
    stages = (
        PlanStage(start=0, stop=CUT, device="me", codec="uint8"),
        PlanStage(start=CUT, stop=len(manifest.blocks), device="peer"),
    )
    header = FeatureMapHeader(
        transfer_id="",
        sender="me",
        request_id="r",
        stream="s",
        model=manifest.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=0,
        tensors=(),
        source="me",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )
    return SentStage(header, arrays, encode_tensors(arrays, "uint8", CODER))


@pytest.fixture
async def bench(manifest: Manifest, store: ModelCache) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        ear = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe(topics.shadow(manifest.model))
        control = await stack.enter_async_context(Connection.open(settings))
        processor = await stack.enter_async_context(Processor.open())
        pool = SegmentPool("me", store, EngineSettings(), SegmentLifecycle(), _ignore)
        pool.know(manifest)
        check = ShadowCheck(
            "me", 0.5, pool=pool, processor=processor, coder=CODER, speed=DeviceSpeed(), outbox=Outbox("me", control)
        )
        async with asyncio.timeout(60), cancelled_at_the_end() as group:
            group.create_task(pool.run())
            group.create_task(check.run())
            yield Bench(check, processor, ear, await _sent(manifest, store))


async def test_every_second_lossy_feature_map_is_checked(bench: Bench, manifest: Manifest) -> None:
    assert not bench.check.is_due("uint8")
    bench.check.offer(bench.sent)
    assert bench.check.is_due("uint8")
    bench.check.offer(bench.sent)
    report = ShadowReport.decode((await anext(bench.ear)).payload)
    assert (report.device, report.stream, report.block, report.codec) == ("me", "s", CUT - 1, "uint8")
    assert 0 < report.max_relative_error < 0.1
    assert not bench.check.is_due("uint8")


async def test_lossless_encodings_are_never_due(bench: Bench) -> None:
    assert not any(bench.check.is_due("raw+zstd") for _ in range(4))


async def test_a_busy_processor_postpones_the_check(bench: Bench) -> None:
    may_end = threading.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(bench.processor.run(may_end.wait, Ticket("s")))
        await asyncio.sleep(0)
        assert bench.processor.waiting
        assert not any(bench.check.is_due("uint8") for _ in range(4))
        may_end.set()
    assert bench.check.is_due("uint8")
