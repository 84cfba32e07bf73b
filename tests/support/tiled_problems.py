"""Random problems whose stages may be split into tiles, random chains for them, and the documented example."""

import random

import numpy as np

from planning.files.problem_file import read_problem
from planning.problem.problem import (
    Block,
    CodecProfile,
    Device,
    Link,
    Model,
    Problem,
    RowProfile,
    RowTable,
    Stream,
)
from planning.search.device_network import DeviceNetwork
from planning.tiled_search.plan_batch import TiledChain
from planning.tiled_search.tile_tables import TileTables, tile_tables
from shared.policy import Objective, Policy
from tests.support.shared_paths import REPOSITORY

# Kernel, stride, padding and upsampling of blocks: convolutions, pooling, and one that doubles the height.
_KINDS = ((3, 1, 1, 1), (1, 1, 0, 1), (2, 2, 0, 1), (5, 2, 2, 1), (3, 1, 1, 2))


def tiles_example() -> Problem:
    """Return the problem of examples/tiles."""
    return read_problem((REPOSITORY / "examples" / "tiles" / "problem.json").read_bytes())


def tables_of(problem: Problem) -> TileTables:
    """Return the arrays of the first stream, which has some."""
    tables = tile_tables(problem, problem.streams[0], DeviceNetwork(problem))
    assert tables is not None
    return tables


def random_tiled_problem(
    seed: int, *, blocks: int = 7, devices: int = 3, objective: Objective = Objective.LATENCY
) -> Problem:
    """Return a chain or a branching model on linked devices; encodings, row tables and steps for some seeds."""
    rng = random.Random(seed)
    model = _model(rng, blocks)
    names = [f"d{index}" for index in range(devices)]
    links = [
        Link(one, other, rng.choice([20.0, 100.0, 500.0]), rng.choice([0.0, 0.5]))
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    ]
    stream = Stream("s", "m", names[0], rng.choice([None, names[0], names[-1]]))
    own = {name: _device(rng, model) for name in names}
    return Problem({"m": model}, own, tuple(links), (stream,), Policy(objective=objective))


def _model(rng: random.Random, count: int) -> Model:
    heights, blocks = [rng.randint(12, 40)], []
    for index in range(count):
        before = heights[-1]
        kernel, stride, padding, upsampling = rng.choice(_KINDS if before > 8 else _KINDS[:2])
        height = (before * upsampling + 2 * padding - kernel) // stride + 1
        heights.append(height)
        size_bytes = float(height * rng.randint(200, 4000))
        rows = RowProfile(height, kernel, stride, padding, upsampling=upsampling)
        codecs = {"zstd": CodecProfile(size_bytes / 2, 0.4, 0.3)} if rng.random() < 0.3 else {}
        tail = index >= count - rng.randint(0, 2)
        parameters = rng.randint(0, 1000)
        blocks.append(Block(f"b{index}", size_bytes, 0, parameters, codecs=codecs, rows=None if tail else rows))
    edges = None
    if rng.random() < 0.4:
        # A residual connection around a block that keeps the height.
        kept = [at for at in range(1, count - 1) if heights[at] == heights[at + 1] == heights[at + 2]]
        edges = [(at - 1, at, blocks[at - 1].output_bytes) for at in range(1, count)]
        edges += [(at - 1, at + 1, blocks[at - 1].output_bytes) for at in kept[:1]]
    return Model(float(heights[0] * 500), tuple(blocks), None if edges is None else tuple(edges), heights[0])


def _device(rng: random.Random, model: Model) -> Device:
    speed = rng.choice([1.0, 2.0, 5.0])
    times = tuple(round(rng.uniform(1, 10) / speed, 3) for _ in model.blocks)
    row_ms: dict[str, tuple[RowTable | None, ...]] = {}
    if rng.random() < 0.4:
        row_ms["m"] = tuple(_table(rng, block, time_ms) for block, time_ms in zip(model.blocks, times, strict=True))
    load_factor, segment_overhead_ms = rng.choice([1.0, 1.5]), rng.choice([0.0, 0.3])
    codec_speed, row_step = rng.choice([1.0, 2.0]), rng.choice([1, 1, 4])
    return Device(
        {"m": times},
        load_factor=load_factor,
        segment_overhead_ms=segment_overhead_ms,
        power_active_w=4.0,
        power_tx_w=0.5,
        power_rx_w=0.25,
        codec_speed=codec_speed,
        row_ms=row_ms,
        row_step=row_step,
        tile_overhead_ms=0.5 if row_step > 1 else 0.0,
        separate_links=rng.random() < 0.3,
    )


def _table(rng: random.Random, block: Block, whole_ms: float) -> RowTable | None:
    if block.rows is None or block.rows.output_rows < 4 or rng.random() < 0.5:
        return None
    half = block.rows.output_rows // 2
    return ((1, whole_ms * 0.2), (half, whole_ms * 0.7))


def random_chain(rng: random.Random, tables: TileTables) -> TiledChain:
    """Return stages at random, most of them split at random where they may be."""
    nodes, units = len(tables.nodes), len(tables.units)
    stops = sorted({*rng.sample(range(1, units), rng.randint(0, min(3, units - 1))), units})
    order = rng.sample(range(nodes), nodes)
    bounds, codecs = [], []
    for start, stop in zip([0, *stops], stops, strict=False):
        height = tables.heights[stop]
        if all(unit.tileable for unit in tables.units[start:stop]) and rng.random() < 0.8:
            bounds.append([0, *sorted(rng.randint(0, height) for _ in range(nodes - 1)), height])
        else:
            place = rng.randrange(nodes)
            bounds.append([0] * (place + 1) + [height] * (nodes - place))
        codecs.append(rng.randrange(len(tables.encodings.names[stop])))
    return TiledChain(np.array(order), np.array(stops), np.array(bounds), np.array(codecs))
