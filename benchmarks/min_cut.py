"""The cheapest division of a branching model between two devices: a minimum s-t cut."""

from dataclasses import dataclass

import networkx as nx

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem, Stream

_SOURCE, _TARGET, _INPUT = "source", "target", "input"


@dataclass(frozen=True, slots=True)
class Division:
    """A division of a model between two devices.

    Attributes:
        blocks: those that stay at the source. With a block, all that it depends on stays, too. They need not be
            contiguous in block order.
        latency_ms: latency of the whole.
    """

    blocks: frozenset[int]
    latency_ms: float


def cheapest_division(problem: Problem, stream: Stream, helper: str) -> Division:
    """Return the division between source and ``helper`` with the least latency, over all closed sets; exact.

    The construction of DADS for light load (Hu et al., INFOCOM 2019). The arc from the source to a block has the
    block's time on the helper as capacity. The arc from a block to the target has the block's time at the source. A cut
    through one of them places the block on the other side. A tensor has a vertex of its own, so that it is sent once to
    all its readers. Arcs without capacity limit forbid a return. The result's way to a sink is left out.

    Args:
        problem: the problem.
        stream: the stream whose model is divided.
        helper: the device that computes the rest.
    """
    costs, model = CostModel(problem), problem.models[stream.model]
    near, far = problem.devices[stream.source], problem.devices[helper]
    blocks = range(len(model.blocks))
    whole = frozenset(blocks)
    near_ms = [near.slowdown * time for time in near.block_ms.get(stream.model, [float("inf")] * len(whole))]
    far_ms = [far.slowdown * time for time in far.block_ms[stream.model]]
    local = Division(whole, sum(near_ms) + near.slowdown * near.segment_overhead_ms)
    latency_ms = costs.transfer_ms(stream.source, helper, 0.0)
    start_ms = far.slowdown * far.segment_overhead_ms + latency_ms
    sending = {
        tensor: costs.transfer_ms(stream.source, helper, size) - latency_ms
        for tensor, size in _tensors(problem, stream)
    }
    remote = Division(frozenset(), sum(far_ms) + start_ms + sending[-1])
    if local.latency_ms == float("inf"):
        return remote
    graph: nx.DiGraph[object] = nx.DiGraph()
    graph.add_edge(_SOURCE, _INPUT)
    for block in blocks:
        graph.add_edge(_SOURCE, block, capacity=far_ms[block])
        graph.add_edge(block, _TARGET, capacity=near_ms[block])
    for tensor, readers in _readers(problem, stream).items():
        maker = _INPUT if tensor < 0 else tensor
        graph.add_edge(maker, ("sent", tensor), capacity=sending[tensor])
        for reader in readers:
            graph.add_edge(("sent", tensor), reader)
            graph.add_edge(reader, maker)
    _, (kept, _) = nx.minimum_cut(graph, _SOURCE, _TARGET)
    inside = frozenset(block for block in blocks if block in kept)
    sent = {
        tensor
        for tensor, readers in _readers(problem, stream).items()
        if readers - inside and (tensor < 0 or tensor in inside)
    }
    mixed_ms = sum(near_ms[block] for block in inside) + sum(far_ms[block] for block in whole - inside)
    mixed_ms += sum(sending[tensor] for tensor in sent) + start_ms + near.slowdown * near.segment_overhead_ms
    candidates = [local, remote]
    if inside and inside != whole:
        candidates.append(Division(inside, mixed_ms))
    return min(candidates, key=lambda division: division.latency_ms)


def _tensors(problem: Problem, stream: Stream) -> list[tuple[int, float]]:
    """Return every tensor that has a reader, by the block that makes it (-1: the input), and its size."""
    model = problem.models[stream.model]
    sizes = {-1: model.input_bytes}
    if model.edges is None:
        sizes |= {index: block.output_bytes for index, block in enumerate(model.blocks[:-1])}
    for source, _, size_bytes in model.edges or ():
        sizes[source] = max(sizes.get(source, 0.0), size_bytes)
    return list(sizes.items())


def _readers(problem: Problem, stream: Stream) -> dict[int, set[int]]:
    model = problem.models[stream.model]
    edges = model.edges
    if edges is None:
        edges = tuple((index, index + 1, 0.0) for index in range(len(model.blocks) - 1))
    readers: dict[int, set[int]] = {}
    for source, target, _ in edges:
        readers.setdefault(source, set()).add(target)
    fed = {target for _, target, _ in edges}
    readers[-1] = {index for index in range(len(model.blocks)) if index not in fed}
    return readers
