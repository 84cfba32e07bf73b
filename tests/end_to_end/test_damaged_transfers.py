"""A feature map that fits its header and does not decode: tried again, answered once, given up with its reason."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.executor.feature_maps import decode_feature_map, encode_feature_map, encode_tensors
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.segments.segment import build_segments
from services.executor.segments.segment_events import SegmentKey
from shared.bus.feature_maps.transport import BrokerTransport
from shared.codecs import EncodedTensor, load_registry
from shared.messages.events import EventKind
from shared.messages.requests import ErrorCause, OutcomeStatus
from tests.support.executor_pair import CUT, World, pair_of_executors

CODEC = "uint8"
PREAMBLE_BYTES = 16
RETRY_LIMIT = 3


def damaged(tensor: EncodedTensor) -> EncodedTensor:
    """Make the first channel's scale no number: the size still fits."""
    payload = bytearray(tensor.payload())
    payload[PREAMBLE_BYTES : PREAMBLE_BYTES + 2] = b"\xff\xff"
    return EncodedTensor(tensor.codec, tensor.spec, (bytes(payload),))


@asynccontextmanager
async def middle(world: World, is_damaged: Callable[[int], bool]) -> AsyncIterator[None]:
    """Play the device `middle`, which computes the first blocks and damages what it sends in some attempts."""
    coder = Coder(load_registry(), EngineSettings())
    key = SegmentKey(world.manifest.model, 0, CUT)
    (segment,) = build_segments(world.model_path, world.manifest, (key,), EngineSettings()).values()
    async with BrokerTransport.open(world.settings, "middle") as transport, asyncio.TaskGroup() as group:

        async def work() -> None:
            async for delivery in transport:
                received = decode_feature_map(delivery.buffer, coder.registry)
                encoded = encode_tensors(segment.run(received.arrays(coder)), CODEC, coder)
                if is_damaged(received.header.attempt):
                    encoded = {name: damaged(tensor) for name, tensor in encoded.items()}
                header = received.header.model_copy(update={"stage": 1, "sender": "middle"})
                await transport.send("second", encode_feature_map(header, encoded))

        task = group.create_task(work())
        yield
        task.cancel()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with pair_of_executors(tmp_path) as opened:
        yield opened


async def test_one_damaged_transfer_is_tried_again_and_answered_once(world: World) -> None:
    async with middle(world, lambda attempt: attempt == 1):
        await world.commit(CODEC, first="middle")
        outcome = await world.ask("r1")
        assert outcome.status is OutcomeStatus.OK
        assert outcome.attempt == 2
        told = {event.kind: event.text for event in world.events}
        assert "a channel's scale is not finite" in told[EventKind.BAD_MESSAGE]
        assert "a channel's scale is not finite" in told[EventKind.REQUEST_RETRIED]
        assert (await world.ask("r2")).status is OutcomeStatus.OK
    assert sorted(outcome.request_id for outcome in world.outcomes) == ["r1", "r2"]


async def test_what_always_arrives_damaged_ends_with_one_error_that_says_why(world: World) -> None:
    async with middle(world, lambda attempt: True):
        await world.commit(CODEC, first="middle")
        outcome = await world.ask("r1")
        await world.until(lambda: [event for event in world.events if event.kind is EventKind.REQUEST_FAILED])
    assert (outcome.status, outcome.cause) == (OutcomeStatus.ERROR, ErrorCause.RETRIES_EXHAUSTED)
    assert outcome.attempt == RETRY_LIMIT + 1
    assert "second could not decode a feature map: a channel's scale is not finite" in outcome.error
    assert len([event for event in world.events if event.kind is EventKind.REQUEST_RETRIED]) == RETRY_LIMIT
    assert len(world.outcomes) == 1
