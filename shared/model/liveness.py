"""Liveness of tensors at each position of a graph, the basis of every cut."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shared.model.graph import Graph, Node

# Operators without inputs that are not constant, because each run draws other numbers.
_RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


@dataclass(frozen=True, eq=False)
class ActiveGraph:
    """A graph without its constant subgraphs and dead ends.

    Attributes:
        graph: the whole graph.
        nodes: nodes on a path from an input to an output, in topological order.
        producers: node that writes each tensor of a constant subgraph. Such subgraphs are not cut: every segment that
            reads them repeats them.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    producers: dict[str, Node]

    def is_constant(self, tensor: str) -> bool:
        """Return whether the tensor is a weight or computed from weights only."""
        return tensor in self.graph.weights or tensor in self.producers


def activate(graph: Graph) -> ActiveGraph:
    """Separate the nodes that depend on an input from constant subgraphs, and drop dead ends."""
    producers: dict[str, Node] = {}
    varying: list[Node] = []
    for node in graph.nodes:
        # Nodes are in topological order, so the producers of all inputs are known here.
        constant = all(name in graph.weights or name in producers for name in node.reads)
        if constant and node.op_type not in _RANDOM:
            producers.update((name, node) for name in node.written)
        else:
            varying.append(node)
    # Backwards: a node is needed if one of its outputs is, and then so are its inputs.
    needed = set(graph.outputs)
    alive: list[Node] = []
    for node in reversed(varying):
        if needed.intersection(node.written):
            needed.update(node.reads)
            alive.append(node)
    return ActiveGraph(graph, tuple(reversed(alive)), producers)


def live_sets(active: ActiveGraph) -> list[tuple[str, ...]]:
    """Find the live tensors before each active node, and after the last one.

    A tensor is live from the node that writes it to its last reader. An output of the model is live to the end,
    because a later segment may return it. Entry p holds the tensors that cross between nodes p - 1 and p, in the order
    in which they are written. The model's inputs come first, in their declared order.

    A set of size one is the same for every topological order. All nodes before it lead to this tensor, and all nodes
    after it depend on it.

    Returns:
        One tuple of tensor names for each of the len(active.nodes) + 1 positions.
    """
    # Readers of each tensor that are still to come. A set per node, because a node may read a tensor twice.
    remaining = Counter(name for node in active.nodes for name in set(node.reads))
    remaining.update(active.graph.outputs)
    live = dict.fromkeys(name for name in active.graph.inputs if remaining[name])
    sets = [tuple(live)]
    for node in active.nodes:
        for name in set(node.reads):
            remaining[name] -= 1
            if not remaining[name]:
                live.pop(name, None)
        live.update(dict.fromkeys(name for name in node.written if remaining[name]))
        sets.append(tuple(live))
    return sets


def constant_nodes(active: ActiveGraph, names: Iterable[str]) -> tuple[Node, ...]:
    """Return the nodes of constant subgraphs that the tensors `names` depend on, in topological order."""
    needed = set(names)
    nodes: list[Node] = []
    for node in reversed(dict.fromkeys(active.producers.values())):
        if needed.intersection(node.written):
            needed.update(node.reads)
            nodes.append(node)
    return tuple(reversed(nodes))
