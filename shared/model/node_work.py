"""Shares of a model's work that its nodes have, by which blocks are compared before any device has measured them."""

from shared.model.liveness import ActiveGraph
from shared.model.node_cost import flops, total_bytes


def node_work(active: ActiveGraph) -> tuple[float, ...]:
    """Return the share of each active node in the model's work: the mean of its shares in operations and parameters.

    A node has at least one operation for every element that it reads or writes. Parameters of several readers count
    for the first.
    """
    graph = active.graph
    operations: list[int] = []
    parameters: list[int] = []
    seen: set[str] = set()
    for node in active.nodes:
        sized = {name for name in (*node.reads, *node.written) if graph.is_sized(name)}
        elements = sum(graph.tensor(name).elements for name in sized if not active.is_constant(name))
        operations.append(max(flops(graph, node), elements))
        constants = {name for name in node.reads if active.is_constant(name) and graph.is_sized(name)} - seen
        seen |= constants
        parameters.append(total_bytes(graph.describe(tuple(constants))))
    all_operations, all_parameters = sum(operations) or 1, sum(parameters) or 1
    pairs = zip(operations, parameters, strict=True)
    return tuple((count / all_operations + size / all_parameters) / 2 for count, size in pairs)
