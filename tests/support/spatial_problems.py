"""Problems whose models have rows, for strategies with tiles."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.search.device_network import DeviceNetwork
from planning.search.spatial_group import SpatialGroup, spatial_group
from shared.policy import Policy

# Kernel, stride, padding and output rows of the convolutions and poolings of VGG16, with its share of the work.
VGG16_LAYERS = [
    (3, 1, 1, rows) if layer == "c" else (2, 2, 0, rows)
    for layer, rows in zip(
        "ccpccpcccpcccpcccp",
        [224, 224, 112, 112, 112, 56, 56, 56, 56, 28, 28, 28, 28, 14, 14, 14, 14, 7],
        strict=True,
    )
]


def row_chain(layers: Sequence[tuple[int, int, int, int]], *, row_bytes: float = 1000, input_rows: int) -> Model:
    """A chain of layers ``(kernel, stride, padding, output rows)``, with 10 FLOPs per row and rows of one size."""
    blocks = [
        Block(f"b{index}", row_bytes * rows, 10 * rows, rows=RowProfile(rows, kernel, stride, padding))
        for index, (kernel, stride, padding, rows) in enumerate(layers)
    ]
    return Model(row_bytes * input_rows, tuple(blocks), None, input_rows)


def meshed(model: Model, whole_ms: Sequence[float], mbps: Sequence[float], sink: str | None = "phone") -> Problem:
    """A phone that cannot compute, and devices d0, d1, ... whose time of the whole model and links are given.

    The blocks of a device share its time by FLOPs. A link between two devices has the smaller of their bandwidths.
    """
    total = sum(block.flops for block in model.blocks)
    names = [f"d{index}" for index in range(len(whole_ms))]
    devices = {
        name: Device({"m": tuple(ms * block.flops / total for block in model.blocks)})
        for name, ms in zip(names, whole_ms, strict=True)
    }
    rates = dict(zip(names, mbps, strict=True))
    links = [Link("phone", name, rates[name]) for name in names]
    links += [Link(one, other, min(rates[one], rates[other])) for one, other in itertools.combinations(names, 2)]
    stream = Stream("s", "m", "phone", sink)
    return Problem({"m": model}, {"phone": Device(), **devices}, tuple(links), (stream,), Policy())


def group_of(problem: Problem) -> SpatialGroup:
    """The group of the only stream."""
    group = spatial_group(DeviceNetwork(problem), problem.streams[0])
    assert group is not None
    return group


def random_spatial_problem(rng: random.Random) -> Problem:
    """A small problem: a chain or branches with rows and blocks without, up to five devices, most of them linked."""
    model = _random_model(rng)
    names = [f"d{index}" for index in range(rng.randint(1, 5))]
    devices = {
        name: Device(
            {"m": tuple(rng.choice([0.0, rng.uniform(0, 20)]) for _ in model.blocks)} if rng.random() < 0.9 else {},
            load_factor=rng.choice([1.0, rng.uniform(0.5, 3)]),
            segment_overhead_ms=rng.choice([0.0, 0.5]),
            memory_bytes=rng.choice([None, None, rng.randint(10_000, 200_000)]),
            first_blocks=rng.choice([None, None, None, 2]),
        )
        for name in names
    }
    links = [
        Link(one, other, rng.uniform(5, 500), rng.uniform(0, 2))
        for one, other in itertools.combinations(names, 2)
        if rng.random() < 0.85
    ]
    policy = Policy(max_devices=rng.choice([None, None, 2]), raw_input_stays_on_source=rng.random() < 0.2)
    stream = Stream("s", "m", names[0], rng.choice([None, rng.choice(names)]), jobs=rng.choice([1, 2]))
    return Problem({"m": model}, devices, tuple(links), (stream,), policy)


def _random_model(rng: random.Random) -> Model:
    height = first = rng.randint(6, 40)
    blocks: list[Block] = []
    for index in range(rng.randint(1, 7)):
        kernel, stride = rng.choice([1, 3, 5]), rng.choice([1, 1, 2])
        padding = kernel // 2
        height = (height + 2 * padding - kernel) // stride + 1
        whole = rng.random() < 0.15
        rows = None if whole or height < 1 else RowProfile(height, kernel, stride, padding)
        blocks.append(
            Block(f"b{index}", 200.0 * height, rng.choice([0, rng.randint(1, 99)]), rng.randint(0, 9000), rows=rows)
        )
    edges = None
    if len(blocks) >= 4 and rng.random() < 0.4:
        edges = [(index, index + 1, blocks[index].output_bytes) for index in range(len(blocks) - 1)]
        # A branch past block 2 that block 3 joins; all readers of block 1 see the same rows.
        edges.append((1, 3, blocks[1].output_bytes))
    return Model(200.0 * first, tuple(blocks), None if edges is None else tuple(edges), first)


def without_rows(problem: Problem) -> Problem:
    """The same problem with a model of which no block has rows."""
    model = problem.models["m"]
    return replace(problem, models={"m": replace(model, blocks=tuple(replace(b, rows=None) for b in model.blocks))})
