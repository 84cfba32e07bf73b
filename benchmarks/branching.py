"""Loss of cutting along the order of operators against the minimum cut of a branching model.

    python -m benchmarks.branching [--quick] [--out FILE]

A route's segments are contiguous in the order of operators. A minimum cut may also divide between parallel branches in
a way that no order of the file has. The benchmark compares three latencies for the branching reference architectures,
at the granularity of single operators:

- of the minimum cut over all closed sets (DADS, light load),
- of the best cut along the order,
- of the best cut that Segue offers (useful cuts of one tensor, and of up to four).

They are predicted for a source of 15 GMAC/s and 20 us per operator, roughly a Raspberry Pi 4 by ncnn's published
figures.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.min_cut import cheapest_division
from benchmarks.report import RESULTS, console, write
from planning.cost.cost_model import CostModel
from planning.problem.plan import RAW, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from shared.model.architectures import build
from shared.model.cuts import find_partition
from shared.model.liveness import ActiveGraph, activate
from shared.model.node_cost import flops

MODELS = ("squeezenet", "googlenet", "inceptionv3", "resnet18", "resnet50", "mobilenetv2")
QUICK_MODELS = ("squeezenet", "googlenet")
SOURCE_FLOP_PER_MS = 30e6
OPERATOR_MS = 0.02
SPEEDUPS = (2.0, 5.0, 10.0, 30.0, 100.0)
BANDWIDTHS_MBPS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
JPEG_BYTES = 20_000
SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Cell:
    """One model under one condition: latencies of the minimum cut and of the best cuts along the order.

    Attributes:
        model: name of the architecture.
        speedup: speed of the helper relative to the source.
        bandwidth_mbps: of the link.
        is_jpeg: whether the input is a JPEG file instead of a tensor.
        minimum_ms: of the minimum cut over all closed sets of operators.
        ordered_ms: of the best cut in the order of operators, with any number of crossing tensors.
        four_ms: of the best useful cut that at most four tensors cross.
        one_ms: of the best useful cut that one tensor crosses: what Segue plans with.
    """

    model: str
    speedup: float
    bandwidth_mbps: float
    is_jpeg: bool
    minimum_ms: float
    ordered_ms: float
    four_ms: float
    one_ms: float


def operator_model(active: ActiveGraph, input_bytes: float) -> Model:
    """Return a model whose blocks are the single operators of a graph."""
    graph = active.graph
    maker = {name: index for index, node in enumerate(active.nodes) for name in node.written}
    edges = {
        (maker[name], index, float(graph.tensor(name).size_bytes))
        for index, node in enumerate(active.nodes)
        for name in node.reads
        if name in maker
    }
    blocks = tuple(Block(node.label, float(graph.tensor(node.outputs[0]).size_bytes)) for node in active.nodes)
    return Model(input_bytes, blocks, tuple(sorted(edges)))


def cells(name: str) -> Iterator[Cell]:
    """Yield every condition of one model."""
    active = activate(build(name))
    near_ms = tuple(flops(active.graph, node) / SOURCE_FLOP_PER_MS + OPERATOR_MS for node in active.nodes)
    offered = {count: find_partition(active, count).positions for count in (1, 4)}
    tensor_bytes = float(sum(active.graph.tensor(tensor).size_bytes for tensor in active.graph.inputs))
    for is_jpeg, input_bytes in ((False, tensor_bytes), (True, float(JPEG_BYTES))):
        model = operator_model(active, input_bytes)
        for speedup in SPEEDUPS:
            for mbps in BANDWIDTHS_MBPS:
                devices = {
                    "source": Device({"m": near_ms}),
                    "server": Device({"m": tuple(time_ms / speedup for time_ms in near_ms)}),
                }
                stream = Stream("s", "m", "source")
                problem = Problem({"m": model}, devices, (Link("source", "server", mbps, 2.0),), (stream,))
                along = _along_the_order(problem, stream)
                yield Cell(
                    name,
                    speedup,
                    mbps,
                    is_jpeg,
                    minimum_ms=cheapest_division(problem, stream, "server").latency_ms,
                    ordered_ms=min(along),
                    four_ms=min(along[position] for position in offered[4]),
                    one_ms=min(along[position] for position in offered[1]),
                )


def _along_the_order(problem: Problem, stream: Stream) -> list[float]:
    """Return the latency of every cut along the order of blocks, by its position."""
    costs, count = CostModel(problem), len(problem.models[stream.model].blocks)
    found = []
    for cut in range(count + 1):
        parts = [(0, cut, "source", RAW), (cut, count, "server", RAW)]
        route = sequential_route([part for part in parts if part[0] < part[1]])
        found.append(costs.latency_ms(stream, route))
    return found


def _loss(cell: Cell, latency_ms: float) -> float:
    return latency_ms / cell.minimum_ms - 1


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two models only")
    parser.add_argument("--out", type=Path, default=RESULTS / "branching.json")
    arguments = parser.parse_args()
    table = Table(title="cells in which a cut along the order is slower than the minimum cut, and by how much at most")
    for column in ("model", "cells", "any cut in order", "useful, up to 4 tensors", "useful, 1 tensor"):
        table.add_column(column, justify="left" if column == "model" else "right")
    everything: list[Cell] = []
    for name in QUICK_MODELS if arguments.quick else MODELS:
        found = list(cells(name))
        everything += found
        row = []
        for field in ("ordered_ms", "four_ms", "one_ms"):
            losses = [_loss(cell, getattr(cell, field)) for cell in found]
            row.append(f"{sum(loss > SAME for loss in losses)} ({max(losses):.2%})")
        table.add_row(name, str(len(found)), *row)
    console().print(table)
    worse = [cell for cell in everything if _loss(cell, cell.one_ms) > SAME]
    worst = max((_loss(cell, cell.one_ms) for cell in everything), default=0.0)
    headline = (
        f"cuts of one tensor along the order lose against the minimum cut in {len(worse)} of {len(everything)} cells, "
        f"{worst:.1%} at most"
    )
    console().print(headline)
    write(arguments.out, {"headline": headline, "cells": [asdict(cell) for cell in everything]})


if __name__ == "__main__":
    main()
