"""Stages of a real model on a real processor."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from services.executor.errors import BadInput, CannotPrepare, ExecutionFailed, TransferDamaged
from services.executor.feature_maps import EncodedPayload, FeatureMap
from services.executor.segments.coding import Coder
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.engine import EngineSettings
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.lifecycle import SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profiler import sample_request
from services.executor.segments.segment import REQUEST_TENSOR
from services.executor.segments.segment_pool import SegmentPool
from services.executor.stage_runner import FinishedStage, StageRunner
from shared.codecs import load_registry
from shared.messages.control import Ready, Rejected
from shared.messages.models import Manifest
from shared.messages.requests import FeatureMapHeader, TensorHeader
from shared.messages.streams import PlanStage
from tests.support.task_groups import cancelled_at_the_end


def feature_map(
    manifest: Manifest, *stages: PlanStage, stage: int = 0, tensors: dict[str, Any] | None = None
) -> FeatureMap:
    header = FeatureMapHeader(
        transfer_id="",
        sender="me",
        request_id="r",
        stream="s",
        model=manifest.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=stage,
        tensors=(),
        source="me",
        accepted_at_s=100.0,
        dispatched_at_s=100.0,
        accepted_s=-5.0,
    )
    request = {REQUEST_TENSOR: np.frombuffer(sample_request(manifest), np.uint8)}
    return FeatureMap(header, request if tensors is None else tensors)


async def run(runner: StageRunner, job: FeatureMap, *, keeps_arrays: bool = False) -> FinishedStage:
    return await runner.run(job, received_s=0.0, keeps_arrays=keeps_arrays)


@pytest.fixture
async def runner(manifest: Manifest, store: ModelCache) -> AsyncIterator[StageRunner]:
    async def ignore(answer: Ready | Rejected) -> None:
        raise AssertionError(f"nobody asked for {answer}")

    pool = SegmentPool("me", store, EngineSettings(), SegmentLifecycle(), ignore)
    pool.know(manifest)
    speed = DeviceSpeed()
    speed.learn(manifest, IdleProfile((1.0,) * len(manifest.blocks), 0.5))
    async with Processor.open() as processor, cancelled_at_the_end() as group:
        group.create_task(pool.run())
        yield StageRunner("me", pool, processor, speed, Coder(load_registry(), EngineSettings()))


async def test_the_last_stage_gives_the_result_and_an_observation(runner: StageRunner, manifest: Manifest) -> None:
    last = len(manifest.blocks)
    finished = await run(runner, feature_map(manifest, PlanStage(start=0, stop=last, device="me")))
    assert finished.output.result is not None
    assert len(finished.output.result.top) == 5
    assert not finished.output.encoded
    assert (finished.trace.device, finished.trace.received_at_s) == ("me", 105.0)
    assert finished.observation is not None
    assert finished.observation.idle_ms == pytest.approx(last + 0.5)


async def test_a_stage_before_another_device_encodes_and_one_before_this_device_does_not(
    runner: StageRunner, manifest: Manifest
) -> None:
    last = len(manifest.blocks)
    first = PlanStage(start=0, stop=2, device="me", codec="uint8")
    there = await run(runner, feature_map(manifest, first, PlanStage(start=2, stop=last, device="peer")))
    assert {tensor.codec for tensor in there.output.encoded.values()} == {"uint8"}
    here = await run(runner, feature_map(manifest, first, PlanStage(start=2, stop=last, device="me")))
    assert not here.output.encoded
    assert here.output.arrays.keys() == there.output.encoded.keys()


async def test_faults_are_told_apart(runner: StageRunner, manifest: Manifest) -> None:
    last = len(manifest.blocks)
    whole, rest = PlanStage(start=0, stop=last, device="me"), PlanStage(start=2, stop=last, device="me")
    with pytest.raises(BadInput):
        await run(runner, feature_map(manifest, whole, tensors={REQUEST_TENSOR: np.zeros(3, np.uint8)}))
    with pytest.raises(ExecutionFailed, match="does not end where the model does"):
        await run(runner, feature_map(manifest, PlanStage(start=0, stop=2, device="me")))
    unknown = feature_map(manifest.model_copy(update={"model": "0" * 64}), whole)
    with pytest.raises(CannotPrepare, match="no manifest"):
        await run(runner, unknown)
    # A scale of zero decodes to no tensor that the codec can have encoded.
    tensor = runner.coder.encode(np.ones((1, 8, 8, 8), np.float32), "uint8")
    payload = bytes(tensor.payload()).replace(bytes(tensor.pieces[1]), bytes(len(tensor.pieces[1])), 1)
    header = TensorHeader(name="x", dtype="float32", shape=(1, 8, 8, 8), codec="uint8", size_bytes=len(payload))
    damaged = {"x": EncodedPayload(header, memoryview(payload), 2048)}
    with pytest.raises(TransferDamaged):
        await run(
            runner, feature_map(manifest, PlanStage(start=0, stop=2, device="peer"), rest, stage=1, tensors=damaged)
        )
