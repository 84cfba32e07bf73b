"""Stages of tiles on three executors behind a real broker: the numbers of the whole model, whatever the route."""

import io
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from services.executor.segments.engine import EngineSettings, load_session
from services.executor.segments.prepare import prepare
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import PlanStage, PlanTile
from shared.transport_mode import Carrier, TransportMode
from tests.support.executor_pair import World, pair_of_executors

DEVICES = ("first", "second", "third")
# Heights of the outputs of blocks 1 to 5 of the model; blocks 6 and 7 have no rows.
HEIGHTS = {1: 32, 2: 16, 3: 16, 4: 16, 5: 8}
BLOCKS = 8

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[TransportMode.MQTT, TransportMode.AUTO])
async def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[World, TransportMode]]:
    mode: TransportMode = request.param
    async with pair_of_executors(tmp_path_factory.mktemp("tiles"), devices=DEVICES, transport=mode) as opened:
        yield opened, mode


def whole(start: int, stop: int, device: str, codec: str = "raw") -> PlanStage:
    return PlanStage(start=start, stop=stop, device=device, codec=codec)


def tiled(start: int, stop: int, devices: Sequence[str], cuts: Sequence[int], codec: str = "raw") -> PlanStage:
    bounds = (0, *cuts, HEIGHTS[stop - 1])
    tiles = [PlanTile(device=device, rows=(bounds[k], bounds[k + 1])) for k, device in enumerate(devices)]
    return PlanStage(start=start, stop=stop, device=devices[0], tiles=tuple(tiles), codec=codec)


def photograph(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def expected(world: World, payload: bytes) -> np.ndarray:
    """Return what the whole model makes of a request."""
    session = load_session(world.model_path.read_bytes(), EngineSettings())
    (scores,) = session.run(prepare(payload, world.manifest)).values()
    return scores


def scores(outcome: Outcome) -> np.ndarray:
    (output,) = outcome.outputs
    return np.frombuffer(output.data, output.dtype).reshape(output.shape)


async def ask(fleet: World, epoch: int, payload: bytes) -> Outcome:
    """Submit a request until it runs in an epoch: a source applies a new plan to the next request after it has come."""
    for number in range(100):
        outcome = await fleet.ask(f"e{epoch}-{number}", payload)
        assert outcome.status is OutcomeStatus.OK, outcome.error
        if outcome.epoch == epoch:
            return outcome
    raise AssertionError(f"epoch {epoch} is not in force")


ROUTES = {
    "two-tiles": (whole(0, 1, "first"), tiled(1, 4, ("first", "second"), [7]), whole(4, BLOCKS, "first")),
    "source-computes-no-tile": (whole(0, 1, "first"), tiled(1, 6, ("second", "third"), [5]), whole(6, BLOCKS, "third")),
    "gather-elsewhere": (whole(0, 2, "second"), tiled(2, 6, ("first", "third"), [2]), whole(6, BLOCKS, "second")),
    "three-uneven-tiles": (whole(0, 1, "first"), tiled(1, 6, DEVICES, [1, 3]), whole(6, BLOCKS, "second")),
    "halo-between-volumes": (
        whole(0, 1, "first"),
        tiled(1, 3, DEVICES, [5, 9]),
        tiled(3, 5, DEVICES, [4, 12]),
        tiled(5, 6, ("second", "first"), [6]),
        whole(6, BLOCKS, "third"),
    ),
    "other-order-and-number-of-devices": (
        whole(0, 1, "first"),
        tiled(1, 2, ("third", "first"), [20]),
        tiled(2, 4, DEVICES, [1, 15]),
        whole(4, 5, "second"),
        tiled(5, 6, ("second", "third"), [4]),
        whole(6, BLOCKS, "first"),
    ),
}


@pytest.mark.parametrize("name", ROUTES)
async def test_tiles_give_the_result_of_the_whole_model(world: tuple[World, TransportMode], name: str) -> None:
    fleet, mode = world
    route, epoch = ROUTES[name], 1 + list(ROUTES).index(name)
    await fleet.commit_route(route, epoch=epoch)
    payload = photograph(epoch)
    outcome = await ask(fleet, epoch, payload)
    assert outcome.attempt == 1
    np.testing.assert_allclose(scores(outcome), expected(fleet, payload), rtol=1e-5, atol=1e-6)
    # One entry for each tile, with its rows, whatever the ways on which the trace came.
    places = sorted((entry.start, entry.device, entry.rows) for entry in outcome.trace)
    assert places == sorted(
        (stage.start, device, stage.rows[tile] if stage.tiles else None)
        for stage in route
        for tile, device in enumerate(stage.devices)
    )
    if mode is TransportMode.MQTT:
        assert {entry.transport for entry in outcome.trace} <= {None, Carrier.MQTT}


@pytest.mark.parametrize("codec", ["float16", "uint8+zstd"])
async def test_rows_are_encoded_tile_by_tile(world: tuple[World, TransportMode], codec: str) -> None:
    fleet, _ = world
    route = (
        whole(0, 1, "first"),
        tiled(1, 4, DEVICES, [3, 7], codec),
        tiled(4, 6, DEVICES, [2, 5], codec),
        whole(6, BLOCKS, "first"),
    )
    epoch = 20 + len(codec)
    await fleet.commit_route(route, epoch=epoch)
    payload = photograph(5)
    outcome = await ask(fleet, epoch, payload)
    assert {entry.codec for entry in outcome.trace if entry.rows and entry.output_bytes} == {codec}
    right = expected(fleet, payload)
    assert np.abs(scores(outcome) - right).max() < 0.05 * np.abs(right).max()
