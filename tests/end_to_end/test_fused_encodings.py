"""A stage that encodes in its own graph sends what encoding outside would, and raw what cannot be encoded."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from services.executor.feature_maps import encode_tensors
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.segments.segment import REQUEST_TENSOR, build_segments
from services.executor.segments.segment_events import SegmentKey
from shared.codecs import load_registry
from shared.messages.requests import OutcomeStatus
from tests.support.executor_pair import CUT, World, pair_of_executors


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with pair_of_executors(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("codec", ["float16", "uint8+zstd", "sparse8+zstd", "uint4"])
async def test_the_answer_is_that_of_encoding_outside(world: World, codec: str) -> None:
    await world.commit(codec)
    tensor = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    outcome = await world.ask("r1", tensor.tobytes())
    assert (outcome.status, outcome.trace[0].codec) == (OutcomeStatus.OK, codec)

    coder = Coder(load_registry(), EngineSettings())
    model, last = world.manifest.model, len(world.manifest.blocks)
    keys = (SegmentKey(model, 0, CUT), SegmentKey(model, CUT, last))
    head, tail = build_segments(world.model_path, world.manifest, keys, EngineSettings()).values()
    crossing = head.run({REQUEST_TENSOR: np.frombuffer(tensor.tobytes(), np.uint8)})
    encoded = encode_tensors(crossing, codec, coder)
    assert outcome.trace[0].output_bytes == sum(tensor.size_bytes for tensor in encoded.values())
    decoded = {
        name: coder.decode(tensor.codec, tensor.spec.dtype.name, tensor.spec.shape, tensor.payload())
        for name, tensor in encoded.items()
    }
    (expected,) = tail.run(decoded).values()
    assert outcome.outputs[0].data == expected.tobytes()


async def test_what_cannot_be_encoded_travels_raw(world: World) -> None:
    await world.commit("uint8+zstd")
    tensor = np.full((1, 3, 32, 32), np.nan, np.float32)
    outcome = await world.ask("r1", tensor.tobytes())
    assert (outcome.status, outcome.trace[0].codec) == (OutcomeStatus.OK, "raw")
    assert outcome.trace[0].output_bytes == world.manifest.blocks[CUT - 1].output_bytes
    again = await world.ask("r2")
    assert again.trace[0].codec == "uint8+zstd"
