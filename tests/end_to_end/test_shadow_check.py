"""Two executors on a real broker: encoded feature maps, the shadow check, and a payload that is not what it says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.bus import topics
from shared.bus.chunks import split_message
from shared.bus.frame import encode_frame
from shared.messages.events import EventKind
from shared.messages.requests import FeatureMapHeader, OutcomeStatus, TensorHeader
from tests.support.executor_pair import CUT, STREAM, World, pair_of_executors


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with pair_of_executors(tmp_path) as opened:
        yield opened


async def test_a_device_checks_what_its_encoding_does_to_the_answer(world: World) -> None:
    await world.commit("uint8+zstd")
    outcome = await world.ask("r1")
    assert outcome.status is OutcomeStatus.OK
    assert outcome.trace[0].codec == "uint8+zstd"
    reports = await world.until(lambda: world.reports)
    report = reports[0]
    assert (report.device, report.stream, report.block, report.codec) == ("first", STREAM, CUT - 1, "uint8+zstd")
    assert 0 < report.max_relative_error < 0.1
    assert report.top1_agreement in (0.0, 1.0)


async def test_lossless_encodings_need_no_check(world: World) -> None:
    await world.commit("raw+zstd")
    outcome = await world.ask("r1")
    assert outcome.trace[0].codec == "raw+zstd"
    await world.ask("r2")
    assert world.reports == []


@pytest.mark.parametrize(
    ("codec", "shape", "payload"),
    [
        ("uint8+zstd", (1, 8, 4096, 4096), b"SGC\x01\x0auint8+zstd" + bytes(1) + b"\x28\xb5\x2f\xfd\xa0"),
        ("raw", (1, 8, 8, 8), bytes(100)),
        ("brotli", (1, 8, 8, 8), bytes(100)),
    ],
)
async def test_a_payload_that_is_not_what_it_says_is_counted_and_harms_nobody(
    world: World, codec: str, shape: tuple[int, ...], payload: bytes
) -> None:
    stages = await world.commit("float16")
    header = FeatureMapHeader(
        transfer_id="t",
        sender="first",
        request_id="forged",
        stream=STREAM,
        model=world.manifest.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=1,
        tensors=(TensorHeader(name="x", dtype="float32", shape=shape, codec=codec, size_bytes=len(payload)),),
        source="first",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )
    for chunk in split_message(b"forged", encode_frame(header.model_dump(mode="python"), [payload]), sender="first"):
        await world.connection.publish(topics.inbox("second"), chunk)
    event = await world.until(lambda: [event for event in world.events if event.kind is EventKind.BAD_MESSAGE])
    assert "inbox" in event[0].text
    assert (await world.ask("r1")).status is OutcomeStatus.OK


async def test_a_tensor_larger_than_the_cut_is_refused_before_it_is_decoded(world: World) -> None:
    stages = await world.commit("float16")
    raw = bytes(world.manifest.blocks[CUT - 1].output_bytes + 4)
    header = FeatureMapHeader(
        transfer_id="t",
        sender="first",
        request_id="forged",
        stream=STREAM,
        model=world.manifest.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=1,
        tensors=(TensorHeader(name="x", dtype="float32", shape=(len(raw) // 4,), size_bytes=len(raw)),),
        source="first",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )
    for chunk in split_message(b"forged", encode_frame(header.model_dump(mode="python"), [raw]), sender="first"):
        await world.connection.publish(topics.inbox("second"), chunk)
    event = await world.until(lambda: [event for event in world.events if event.kind is EventKind.BAD_MESSAGE])
    assert "are accepted" in event[0].text
    assert (await world.ask("r1")).status is OutcomeStatus.OK
    assert [outcome.request_id for outcome in world.outcomes] == ["r1"]
