"""Map of where tiles pay: latency of the best single device, the best sequential route and the best tiled route.

    python -m benchmarks.tiled_map [--quick] [--out FILE] [--models DIR] [--profiles FILE] [--svg FILE]

Blocks and tiles of VGG16, EfficientNet-Lite0 and SqueezeNet are measured on this machine, by the profiler of executors.
Four devices are equal, or as fast as 1:2:4:8. The fastest is like one thread of this machine, or a tenth as fast, like
a small computer. Photographs arise at the first device, which is the slowest. Every pair has a link of its own, of the
same bandwidth in both directions. Latencies are those of the cost model for one request on an idle fleet.

`--models DIR` has `efficientnet_lite0.onnx`. VGG16 has seeded weights. `--profiles FILE` takes the measured times from
an earlier result instead of measuring.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

import services.cli.data as demo_data
from benchmarks.report import argument_parser, console, write
from planning.problem.plan import Plan
from planning.problem.problem import Device, Link, Model, Problem, Stream
from planning.strategies.registry import solve, with_strategy
from services.cli.render.route_text import planned_route_text
from services.cli.support.manifest import build_manifest
from services.executor.segments.engine import EngineSettings, load_session
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.processor import Processor
from services.executor.segments.profiler import Profiler, random_tensor
from services.executor.segments.row_measurement import profile_with_rows
from services.planner.problems.stream_models import DEFAULT_PHOTOGRAPH_BYTES, model_of
from shared.messages.models import Manifest
from shared.model.architectures import build
from shared.model.graph import Graph
from shared.model.onnx_file import load_model, to_bytes
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from shared.model.tiles.computed_rows import computed_rows
from shared.model.tiles.stretches import tileable_stretches
from shared.model.tiles.tile_graph import tile_graph
from shared.model.tiles.tile_plan import plan_tile, segment_height, segment_nodes
from shared.policy import Policy

DEMO_DATA: Final = Path(demo_data.__file__).parent
MODELS: Final = ("vgg16", "efficientnet_lite0", "squeezenet1.1")
QUICK_MODELS: Final = ("squeezenet1.1",)
# Times on a device, relative to this machine; the first one is the source.
FLEETS: Final = {
    "equal": (1.0, 1.0, 1.0, 1.0),
    "1:2:4:8": (8.0, 4.0, 2.0, 1.0),
    "equal, a tenth": (10.0, 10.0, 10.0, 10.0),
    "1:2:4:8, a tenth": (80.0, 40.0, 20.0, 10.0),
}
BANDWIDTHS_MBPS: Final = (20, 50, 100, 200, 500, 1000)
LATENCY_MS: Final = 1.0
STREAM: Final = "camera"
BUDGET_S: Final = 1.0
# Strategies: the best route without tiles for one request alone, and the best one with or without.
WHOLE, TILED = "shortest_path", "tiled"
# Shares of the rows of a whole stretch for which the predicted time is compared with a measured one.
CHECKED_SHARES: Final = (2, 3, 4, 8)
_RUNS: Final = 15
# Gain from which tiles count as paying: less is within the error of predictions.
PAYS: Final = 1.05


@dataclass(frozen=True, slots=True)
class RowCheck:
    """Time of a tile of a whole stretch, ms.

    Attributes:
        rows: of the stretch's output, in its middle.
        of: all rows.
        measured_ms: median time.
        by_tables_ms: from the measured times by rows.
        proportional_ms: in proportion to the rows of each block.
    """

    rows: int
    of: int
    measured_ms: float
    by_tables_ms: float
    proportional_ms: float


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """Times of a model on this machine.

    Attributes:
        name: of the model.
        profile: of its blocks and tiles.
        model: as a problem has it.
        checks: of its longest stretch of blocks that can be tiled.
        took_s: time of measuring the blocks, and the tiles.
    """

    name: str
    profile: IdleProfile
    model: Model
    checks: tuple[RowCheck, ...]
    took_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class MapCell:
    """Latencies of one model on one fleet at one bandwidth, ms.

    Attributes:
        single_ms: of the best single device.
        sequential_ms: of the best route without tiles.
        tiled_ms: of the best route, with tiles if these are better.
        route: as text.
        plan_ms: time of finding it.
    """

    model: str
    fleet: str
    bandwidth_mbps: float
    single_ms: float
    sequential_ms: float
    tiled_ms: float
    route: str
    plan_ms: float

    @property
    def gain(self) -> float:
        """Best latency without tiles, divided by the one with them."""
        return min(self.single_ms, self.sequential_ms) / self.tiled_ms


def model_file(name: str, folder: Path | None, scratch: Path) -> Path:
    """Return the file of a model: one of DIR, the demo's, or an architecture with seeded weights."""
    for place in (folder, DEMO_DATA):
        if place is not None and (place / f"{name}.onnx").is_file():
            return place / f"{name}.onnx"
    path = scratch / f"{name}.onnx"
    path.write_bytes(to_bytes(build(name)))
    return path


async def measure(name: str, file: Path, scratch: Path) -> MeasuredRows:
    """Measure blocks and tiles of a model, and some tiles of its longest stretch."""
    manifest = build_manifest(file)

    async def fetch(start: int, stop: int) -> Path:
        return file

    async with Processor.open() as processor:
        profiler = Profiler(scratch / "profiles", EngineSettings(), processor, scratch / "lock")
        started_s = time.monotonic()
        whole = await profiler.profile(manifest, fetch)
        blocks_s = time.monotonic() - started_s
        profile = await profile_with_rows(profiler, manifest, whole, fetch)
        took_s = (round(blocks_s, 1), round(time.monotonic() - started_s - blocks_s, 1))
    checks = tuple(check_rows(load_model(file), manifest, profile))
    model = model_of(manifest, DEFAULT_PHOTOGRAPH_BYTES, with_rows=True)
    return MeasuredRows(name, profile, model, checks, took_s)


def check_rows(model: PartitionedModel, manifest: Manifest, profile: IdleProfile) -> Iterator[RowCheck]:
    """Yield measured and predicted times of tiles of the longest stretch."""
    stretches = tileable_stretches(model.analysis.blocks, 0, len(model.analysis.blocks))
    start, stop = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    segment = segment_nodes(segment_graph(model, start, stop))
    of = segment_height(segment)
    without_tables = replace(profile, row_ms=None)
    for share in CHECKED_SHARES:
        count = -(-of // share)
        top = (of - count) // 2
        plan = plan_tile(segment, (top, top + count))
        computed = computed_rows(model, start, stop, plan)
        measured_ms = run_ms(tile_graph(segment, plan))
        # Block k of the file is block k + 1 of the manifest.
        by_tables_ms, proportional_ms = (each.tile_ms(start + 1, computed) for each in (profile, without_tables))
        yield RowCheck(count, of, measured_ms, by_tables_ms, proportional_ms)


def run_ms(graph: Graph) -> float:
    """Return the median time of a graph on random inputs."""
    session = load_session(to_bytes(graph), EngineSettings())
    generator = np.random.default_rng(0)
    inputs = {
        name: random_tensor(generator, graph.tensor(name).shape, np.dtype(graph.tensor(name).dtype.value))
        for name in graph.inputs
    }
    session.run(inputs)
    times_s = []
    for _ in range(_RUNS):
        started_s = time.perf_counter()
        session.run(inputs)
        times_s.append(time.perf_counter() - started_s)
    return 1000 * statistics.median(times_s)


def problem_of(measured: MeasuredRows, fleet: str, bandwidth_mbps: float, *, in_tiles: bool = True) -> Problem:
    """Return the problem of one stream on four devices."""
    names = [f"d{index}" for index in range(1, len(FLEETS[fleet]) + 1)]
    devices = {}
    for name, slowdown in zip(names, FLEETS[fleet], strict=True):
        scaled = measured.profile.scaled(slowdown)
        tables = scaled.row_ms or {}
        devices[name] = Device(
            block_ms={measured.name: scaled.block_ms},
            segment_overhead_ms=scaled.segment_overhead_ms,
            row_ms={measured.name: tuple(tables.get(index) for index in range(len(scaled.block_ms)))}
            if in_tiles
            else {},
        )
    model = measured.model
    if not in_tiles:
        model = replace(model, blocks=tuple(replace(block, rows=None) for block in model.blocks))
    links = tuple(
        Link(source, target, bandwidth_mbps, LATENCY_MS) for source in names for target in names if source != target
    )
    return Problem({measured.name: model}, devices, links, (Stream(STREAM, measured.name, names[0]),))


def cell(measured: MeasuredRows, fleet: str, bandwidth_mbps: float) -> MapCell:
    """Return the latencies of one model on one fleet at one bandwidth.

    Raises:
        ValueError: there is no route at all.
    """
    whole = problem_of(measured, fleet, bandwidth_mbps, in_tiles=False)
    single = plan(replace(whole, policy=Policy(max_devices=1)), WHOLE)
    sequential = plan(whole, WHOLE)
    started_s = time.perf_counter()
    tiled = plan(problem_of(measured, fleet, bandwidth_mbps), TILED)
    plan_ms = 1000 * (time.perf_counter() - started_s)
    return MapCell(
        measured.name,
        fleet,
        bandwidth_mbps,
        single.cost,
        sequential.cost,
        tiled.cost,
        planned_route_text(tiled.streams[STREAM].routes[0]),
        plan_ms,
    )


def plan(problem: Problem, strategy: str) -> Plan:
    """Return the plan of a strategy.

    Raises:
        ValueError: it has found none.
    """
    answer = solve(with_strategy(problem, strategy), seed=0, time_budget_s=BUDGET_S)
    if not isinstance(answer, Plan):
        raise ValueError(f"{strategy} has found no plan")
    return answer


def document(measured: Sequence[MeasuredRows], cells: Sequence[MapCell]) -> dict[str, Any]:
    """Return the content of the results file."""
    return {
        "headline": headline(cells),
        "measured": {
            each.name: {
                "block_ms": each.profile.block_ms,
                "segment_overhead_ms": each.profile.segment_overhead_ms,
                "row_ms": each.profile.row_ms,
                "took_s": each.took_s,
                "checks": [asdict(check) for check in each.checks],
            }
            for each in measured
        },
        "cells": [asdict(cell) | {"gain": cell.gain} for cell in cells],
    }


def headline(cells: Sequence[MapCell]) -> str:
    """Summarise the map in one line."""
    paying = [cell for cell in cells if cell.gain > PAYS]
    most = max(cells, key=lambda cell: cell.gain)
    return (
        f"tiles pay in {len(paying)} of {len(cells)} cells; most for {most.model} on {most.fleet} devices at "
        f"{most.bandwidth_mbps:g} Mbps: {min(most.single_ms, most.sequential_ms):.0f} -> {most.tiled_ms:.0f} ms"
    )


def markdown(cells: Sequence[MapCell]) -> str:
    """Return the map as a Markdown table: best latency without tiles, and with them where they pay."""
    bandwidths = list(dict.fromkeys(cell.bandwidth_mbps for cell in cells))
    lines = [
        f"| model | devices | {' | '.join(f'{each:g} Mbps' for each in bandwidths)} |",
        "|---" * (len(bandwidths) + 2) + "|",
    ]
    for model, fleet in dict.fromkeys((cell.model, cell.fleet) for cell in cells):
        own = [cell for cell in cells if (cell.model, cell.fleet) == (model, fleet)]
        lines.append(f"| {model} | {fleet} | {' | '.join(map(_latencies, own))} |")
    return "\n".join(lines) + "\n"


def _latencies(cell: MapCell) -> str:
    whole = f"{min(cell.single_ms, cell.sequential_ms):.0f}"
    return f"{whole}, **{cell.tiled_ms:.0f}**" if cell.gain > PAYS else whole


def check_table(measured: Sequence[MeasuredRows]) -> Table:
    """Return predicted and measured times of tiles of whole stretches."""
    table = Table(title="tiles of the longest stretch, ms on this machine")
    for heading in ("model", "rows", "measured", "by tables", "error", "proportional", "error"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for each in measured:
        for check in each.checks:
            errors = (time_ms / check.measured_ms - 1 for time_ms in (check.by_tables_ms, check.proportional_ms))
            by_tables, proportional = (f"{100 * error:+.0f} %" for error in errors)
            table.add_row(
                each.name,
                f"{check.rows} of {check.of}",
                f"{check.measured_ms:.2f}",
                f"{check.by_tables_ms:.2f}",
                by_tables,
                f"{check.proportional_ms:.2f}",
                proportional,
            )
    return table


def restored(name: str, file: Path, known: Mapping[str, Any]) -> MeasuredRows:
    """Return the measured times of a model from an earlier result."""
    tables = {int(block): tuple(map(tuple, table)) for block, table in known["row_ms"].items()}
    profile = IdleProfile(tuple(known["block_ms"]), known["segment_overhead_ms"], (), tables)
    model = model_of(build_manifest(file), DEFAULT_PHOTOGRAPH_BYTES, with_rows=True)
    return MeasuredRows(name, profile, model, tuple(RowCheck(**check) for check in known["checks"]), known["took_s"])


def main() -> None:
    """Measure, plan and print; write the results after every model."""
    parser = argument_parser("tiled_map", __doc__, quick="SqueezeNet only")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder with more ONNX files")
    parser.add_argument(
        "--profiles", type=Path, metavar="FILE", help="result of an earlier run, for its measured times"
    )
    parser.add_argument("--svg", type=Path, help="file for the picture")
    parser.add_argument("--markdown", type=Path, help="file for the table as Markdown")
    options = parser.parse_args()
    known = json.loads(options.profiles.read_text())["measured"] if options.profiles else {}
    measured: list[MeasuredRows] = []
    cells: list[MapCell] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in QUICK_MODELS if options.quick else MODELS:
            file = model_file(name, options.models, Path(scratch))
            found = (
                restored(name, file, known[name]) if name in known else asyncio.run(measure(name, file, Path(scratch)))
            )
            measured.append(found)
            for fleet in FLEETS:
                cells += [cell(found, fleet, bandwidth_mbps) for bandwidth_mbps in BANDWIDTHS_MBPS]
            write(options.out, document(measured, cells))
            console().print(f"{name}: blocks measured in {found.took_s[0]} s, tiles in {found.took_s[1]} s")
    console().print(check_table(measured))
    console().print(markdown(cells))
    console().print(headline(cells))
    if options.markdown is not None:
        options.markdown.write_text(markdown(cells), encoding="utf-8")
    if options.svg is not None:
        from benchmarks.tiled_map_picture import write_picture

        write_picture(cells, options.svg)


if __name__ == "__main__":
    main()
