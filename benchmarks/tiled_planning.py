"""Plans with tiles: latency beside the best plan without, published methods, a yardstick, a bound; solver time.

    python -m benchmarks.tiled_planning [--quick] [--out FILE]

Instances are examples/tiles, eight Raspberry Pi 4 at several rates, and random chains of convolutions and pooling on
devices of different speeds and links. The published methods are the variants of `planning.strategies.spatial` but for
`distredge`, which learns for minutes. The yardstick (`benchmarks.row_yardstick`) needs few devices. Solver times are
processor times of one process, of the second run: the first one imports.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import geometric_mean, median

from rich.table import Table

from benchmarks.report import argument_parser, console, write
from benchmarks.row_yardstick import row_yardstick
from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, RowTable, Stream
from planning.strategies.registry import solve, with_strategy

EXAMPLE = Path(__file__).parent.parent / "examples" / "tiles" / "problem.json"
PUBLISHED = (
    "coedge",
    "modnn",
    "modnn:hub",
    "mednn",
    "deepthings",
    "deepthings:quickest",
    "deeperthings",
    "aofl",
    "aofl:capability",
    "offload",
)
# Parts of a boundary's rows on the grid of the yardstick, by number of devices.
PARTS = {2: 16, 3: 16, 4: 8}
# Blocks and devices of random instances, and how many there are.
SIZES = ((10, 4, 30), (20, 16, 8))
QUICK_SIZES = ((10, 4, 5), (20, 16, 1))


@dataclass(frozen=True, slots=True)
class Row:
    """One instance.

    Attributes:
        instance: its name.
        tiled_ms: latency of the plan.
        whole_ms: latency of the best plan without tiles.
        published_ms: latency of the best published method.
        published: its name.
        yardstick_ms: latency of the yardstick's plan; None for too many devices.
        bound_ms: proved lower bound.
        solver_ms: processor time of planning.
    """

    instance: str
    tiled_ms: float
    whole_ms: float
    published_ms: float
    published: str
    yardstick_ms: float | None
    bound_ms: float
    solver_ms: float


def raspberries(mbps: float, *, separate_links: bool = False) -> Problem:
    """Return VGG16 on eight Raspberry Pi 4, the first of which is source and sink."""
    example = read_problem(EXAMPLE.read_bytes())
    names = [f"pi{index}" for index in range(8)]
    links = tuple(Link(one, other, mbps, 0.5) for one, other in combinations(names, 2))
    device = replace(example.devices["pi1"], separate_links=separate_links)
    stream = Stream("camera", "vgg16", "pi0", "pi0")
    return replace(example, devices=dict.fromkeys(names, device), links=links, streams=(stream,))


def random_chain(seed: int, blocks: int, devices: int) -> Problem:
    """Return convolutions and pooling, then one block without rows, on a mesh of devices."""
    rng = random.Random(seed)
    first = rng.choice([56, 112, 224])
    height, layers = first, []
    for index in range(blocks - 1):
        kind = rng.random()
        rows = RowProfile(height, 3, 1, 1) if kind < 0.8 else RowProfile(height)
        if index and height > 14 and rng.random() < 2.5 / blocks:
            height //= 2
            rows = RowProfile(height, 2, 2)
        layers.append(Block(f"b{index}", height * rng.uniform(1e3, 3e4) * first / 224, 10, 1e6, rows=rows))
    layers.append(Block("tail", 4000.0, 10))
    work_ms = [rng.uniform(2, 60) if each.rows and each.rows.kernel == 3 else rng.uniform(0, 5) for each in layers]
    names = [f"d{index}" for index in range(devices)]
    rates = {name: rng.choice([50.0, 100.0, 200.0, 300.0]) for name in names}
    links = tuple(Link(one, other, min(rates[one], rates[other]), 1.0) for one, other in combinations(names, 2))
    profiles = {name: _device(rng, layers, work_ms) for name in names}
    model = Model(first * first * 12.0, tuple(layers), None, first)
    return Problem({"m": model}, profiles, links, (Stream("s", "m", "d0", "d0"),))


def _device(rng: random.Random, layers: list[Block], work_ms: list[float]) -> Device:
    speed = rng.choice([1, 1, 2, 4, 8])
    times = tuple(each / speed for each in work_ms)
    tables: list[RowTable | None] = []
    for block, whole_ms in zip(layers, times, strict=True):
        of = block.rows.output_rows if block.rows else 0
        tables.append(((of // 4, whole_ms * 0.3), (of // 2, whole_ms * 0.58)) if of >= 8 else None)
    return Device({"m": times}, segment_overhead_ms=0.5, row_ms={"m": tuple(tables)} if rng.random() < 0.4 else {})


def instances(quick: bool) -> Iterator[tuple[str, Problem]]:
    """Yield the name and the problem of every instance."""
    yield "examples/tiles", read_problem(EXAMPLE.read_bytes())
    for mbps in (300.0,) if quick else (20.0, 50.0, 100.0, 300.0, 1000.0):
        yield f"8 Raspberry Pi 4, {mbps:g} Mbps", raspberries(mbps)
    yield "8 Raspberry Pi 4, 300 Mbps, separate links", raspberries(300.0, separate_links=True)
    for blocks, devices, count in QUICK_SIZES if quick else SIZES:
        for seed in range(count):
            yield f"{blocks} x {devices}, seed {seed}", random_chain(seed, blocks, devices)


def _plan(problem: Problem, strategy: str) -> Plan | None:
    answer = solve(with_strategy(problem, strategy))
    return answer if isinstance(answer, Plan) else None


def measured(name: str, problem: Problem) -> Row:
    """Return the row of one instance."""
    began_s = time.process_time()
    best = _plan(problem, "tiled")
    solver_ms = 1000 * (time.process_time() - began_s)
    whole = _plan(problem, "shortest_path")
    assert best is not None
    assert whole is not None
    published = {each: plan.cost for each in PUBLISHED if (plan := _plan(problem, each)) is not None}
    first = min(published, key=published.__getitem__)
    parts = PARTS.get(len(problem.devices))
    yardstick_ms = None if parts is None else row_yardstick(problem, parts).latency_ms
    return Row(name, best.cost, whole.cost, published[first], first, yardstick_ms, best.lower_bound or 0.0, solver_ms)


def _table(rows: list[Row]) -> Table:
    table = Table("instance", "tiled", "without", "published", "", "yardstick", "bound", "solver (ms)")
    for row in rows:
        yardstick = "" if row.yardstick_ms is None else f"{row.yardstick_ms:.1f}"
        values = (row.tiled_ms, row.whole_ms, row.published_ms)
        cells = [row.instance, *(f"{value:.1f}" for value in values), row.published, yardstick]
        table.add_row(*cells, f"{row.bound_ms:.1f}", f"{row.solver_ms:.0f}")
    return table


def _summary(rows: list[Row], sizes: tuple[tuple[int, int, int], ...]) -> Table:
    table = Table("random instances", "without / tiled", "published / tiled", "yardstick / tiled", "tiled / bound")
    table.add_column("solver median, max (ms)")
    for blocks, devices, _ in sizes:
        own = [row for row in rows if row.instance.startswith(f"{blocks} x {devices},")]
        yardsticks = [row.yardstick_ms / row.tiled_ms for row in own if row.yardstick_ms is not None]
        table.add_row(
            f"{len(own)} of {blocks} x {devices}",
            f"{geometric_mean([row.whole_ms / row.tiled_ms for row in own]):.2f}",
            f"{geometric_mean([row.published_ms / row.tiled_ms for row in own]):.2f}",
            f"{geometric_mean(yardsticks):.3f}" if yardsticks else "",
            f"{geometric_mean([row.tiled_ms / row.bound_ms for row in own]):.2f}",
            f"{median(row.solver_ms for row in own):.0f}, {max(row.solver_ms for row in own):.0f}",
        )
    return table


def main() -> None:
    """Run the instances, and print the tables."""
    options = argument_parser("tiled_planning", __doc__, quick="a few instances").parse_args()
    _plan(raspberries(300.0), "tiled")
    rows = [measured(name, problem) for name, problem in instances(options.quick)]
    behind = [row.instance for row in rows if row.tiled_ms > min(row.whole_ms, row.published_ms) * (1 + 1e-9)]
    shown = console()
    shown.print(_table([row for row in rows if "seed" not in row.instance or options.quick]))
    shown.print(_summary(rows, QUICK_SIZES if options.quick else SIZES))
    example = rows[0]
    headline = (
        f"tiled plans examples/tiles with {example.tiled_ms:.0f} ms ({example.whole_ms:.0f} without tiles); "
        f"behind the best other plan in {len(behind)} of {len(rows)} instances"
    )
    shown.print(headline, *behind, sep="\n")
    write(options.out, {"headline": headline, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
