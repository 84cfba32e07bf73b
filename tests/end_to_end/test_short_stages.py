"""Chains of short stages on two real executors, which exchange their feature maps on the lane."""

import asyncio
import itertools
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.executor.lane_receiver import LaneReceiver
from shared.bus.feature_maps.transport import Delivery
from shared.lane.lane_messages import RowsMessage, decode_lane_message, is_lane_message
from shared.messages.events import EventKind
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import PlanStage
from shared.transport_mode import Carrier, TransportMode
from tests.support.executor_pair import World, pair_of_executors

pytestmark = pytest.mark.timeout(120)

REQUESTS = 12


def chain(world: World) -> tuple[PlanStage, ...]:
    """Every block on the other device than the one before; two neighbours share one."""
    last = len(world.manifest.blocks)
    devices = ["first", "second", "second", *(("first", "second")[k % 2] for k in range(last))][:last]
    return tuple(PlanStage(start=k, stop=k + 1, device=device) for k, device in enumerate(devices))


@pytest.fixture
def on_the_lane(monkeypatch: pytest.MonkeyPatch) -> "Counter[tuple[str, int]]":
    """Counts the rows that arrived, by request and attempt. The first rows of a request `lost` are dropped."""
    seen: Counter[tuple[str, int]] = Counter()
    take_now = LaneReceiver.take_now

    def counted(receiver: LaneReceiver, delivery: Delivery) -> bool:
        message = decode_lane_message(delivery.buffer) if is_lane_message(delivery.buffer) else None
        if isinstance(message, RowsMessage):
            key = message.facts.request_id, message.facts.attempt
            seen[key] += 1
            if key == ("lost", 1):
                return True
        return take_now(receiver, delivery)

    monkeypatch.setattr(LaneReceiver, "take_now", counted)
    return seen


@pytest.mark.parametrize("mode", [TransportMode.MQTT, TransportMode.DIRECT])
async def test_a_chain_gives_the_same_result_on_the_lane_as_in_frames(
    tmp_path: Path, mode: TransportMode, on_the_lane: "Counter[tuple[str, int]]"
) -> None:
    results = {}
    for lane_bytes in (0, 128 * 1024):
        folder = tmp_path / str(lane_bytes)
        folder.mkdir()
        settings: dict[str, Any] = {"transport": mode, "direct_folder": tmp_path / "sockets", "lane_bytes": lane_bytes}
        async with pair_of_executors(folder, **settings) as world:
            await world.commit_route(stages := chain(world))
            await world.ask("warm")
            on_the_lane.clear()
            names = [f"r{number}" for number in range(REQUESTS)]
            outcomes = await asyncio.gather(*(world.ask(name) for name in names))
            check(outcomes, stages, Carrier(mode.value))
            results[lane_bytes] = [outcome.outputs for outcome in outcomes]
            hops = sum(before.device != after.device for before, after in itertools.pairwise(stages))
            assert on_the_lane == (Counter(dict.fromkeys(((name, 1) for name in names), hops)) if lane_bytes else {})
            assert not [event for event in world.events if event.kind is EventKind.BAD_MESSAGE]
            # Links are measured although most messages have no receipt.
            await world.until(partial(measured_links, world))
    assert results[0] == results[128 * 1024]


def measured_links(world: World) -> bool:
    return {each.target for each in world.observed} == {"first", "second"}


def check(outcomes: list[Outcome], stages: tuple[PlanStage, ...], carrier: Carrier) -> None:
    for outcome in outcomes:
        assert (outcome.status, outcome.attempt) == (OutcomeStatus.OK, 1), outcome.error
        assert [(entry.device, entry.start, entry.stop) for entry in outcome.trace] == [
            (stage.device, stage.start, stage.stop) for stage in stages
        ]
        for entry, stage, after in zip(outcome.trace, stages, (*stages[1:], None), strict=True):
            is_sent = after is not None and after.device != stage.device
            assert entry.transport is (carrier if is_sent else None)
            assert (entry.output_bytes > 0) == is_sent
        received = [entry.received_at_s for entry in outcome.trace]
        assert received == sorted(received)
        assert outcome.completed_at_s >= received[-1]


async def test_what_is_lost_on_the_lane_is_tried_again_and_a_reroute_loses_nothing(
    tmp_path: Path, on_the_lane: "Counter[tuple[str, int]]"
) -> None:
    async with pair_of_executors(tmp_path) as world:
        await world.commit_route(stages := chain(world))
        await world.ask("warm")
        outcome = await world.ask("lost")
        assert (outcome.status, outcome.attempt) == (OutcomeStatus.OK, 2)
        assert on_the_lane["lost", 1] == 1
        await world.submit("before")
        other = tuple(
            stage.model_copy(update={"device": "second" if stage.device == "first" else "first"}) for stage in stages
        )
        await world.commit_route(other, epoch=2)
        after = await world.ask("after")
        assert (after.status, after.trace[-1].device) == (OutcomeStatus.OK, other[-1].device)
        await world.until(lambda: any(each.request_id == "before" for each in world.outcomes))
        assert len({each.request_id for each in world.outcomes}) == len(world.outcomes), "one outcome each"
