"""Which tensors are alive where: the base of every cut."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from shared.model.graph import Graph, Node

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


@dataclass(frozen=True, eq=False)
class ActiveGraph:
    """What remains of a graph without its constant parts and its dead ends.

    `nodes` depend on an input and lead to an output, in topological order. `producers` maps each
    tensor that a constant-only subgraph makes to the node that makes it: such subgraphs are not cut but repeated
    in every segment that reads them.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    producers: dict[str, Node]

    def is_constant(self, tensor: str) -> bool:
        """True if the tensor is a weight or made from weights only."""
        return tensor in self.graph.weights or tensor in self.producers


def activate(graph: Graph) -> ActiveGraph:
    """Separate the active nodes of `graph` from constant-only subgraphs, and drop dead ends."""
    producers: dict[str, Node] = {}
    varying: list[Node] = []
    for node in graph.nodes:
        constant = all(name in graph.weights or name in producers for name in node.reads)
        if constant and node.op_type not in _RANDOM:
            producers.update((name, node) for name in node.written)
        else:
            varying.append(node)
    needed = set(graph.outputs)
    alive: list[Node] = []
    for node in reversed(varying):
        if needed.intersection(node.written):
            needed.update(node.reads)
            alive.append(node)
    return ActiveGraph(graph, tuple(reversed(alive)), producers)


def live_sets(active: ActiveGraph) -> list[tuple[str, ...]]:
    """Find the live tensors before each active node, and after the last one.

    A tensor is live from where it is made to its last reader; a tensor that the model returns is live to the end,
    because a later segment may be the one that returns it. Entry p is what has to cross between node p - 1 and
    node p, in the order in which the tensors are made (the model's inputs first, in their declared order). A set of
    size one does not depend on the topological order: all before it leads to it, all after it depends on it.

    Returns:
        One tuple of tensor names per position, len(active.nodes) + 1 of them.
    """
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
    """Collect the constant-only nodes that the tensors `names` depend on, in topological order."""
    needed = set(names)
    found: list[Node] = []
    for node in reversed(dict.fromkeys(active.producers.values())):
        if needed.intersection(node.written):
            needed.update(node.reads)
            found.append(node)
    return tuple(reversed(found))
