"""Bound on the graph that remains when a model's own functions are replaced by their nodes.

Functions that call each other twice, 25 levels deep, make 16 million nodes of a file of 3 kB.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import onnx

from shared.model.errors import ModelFileError

MAX_NODES: Final = 1_000_000

_FunctionKey = tuple[str, str]


def check_expansion(proto: onnx.ModelProto) -> None:
    """Check that a model has a bounded number of nodes once its functions are replaced by their nodes.

    Functions that call themselves are left to ONNX's checker.

    Raises:
        ModelFileError: it has more than `MAX_NODES`.
    """
    functions = {(function.domain, function.name): function for function in proto.functions}
    if not functions:
        return
    sizes: dict[_FunctionKey, int] = {}
    # Without recursion: a chain of calls may be as long as the file.
    pending = list(functions)
    under_way: set[_FunctionKey] = set()
    while pending:
        key = pending[-1]
        if key in sizes:
            pending.pop()
            continue
        callees = {each for each in _calls(functions[key].node) if each in functions}
        waiting = [each for each in callees if each not in sizes and each not in under_way]
        if waiting and key not in under_way:
            under_way.add(key)
            pending += waiting
            continue
        sizes[key] = _size(functions[key].node, sizes)
        pending.pop()
    if _size(proto.graph.node, sizes) > MAX_NODES:
        raise ModelFileError(f"with its functions in place, the graph has more than {MAX_NODES} nodes")


def _size(nodes: Iterable[onnx.NodeProto], sizes: Mapping[_FunctionKey, int]) -> int:
    """Return the number of nodes, those of functions included, up to a little more than the bound."""
    total = 0
    for key in _calls(nodes):
        total += sizes.get(key, 1)
        if total > MAX_NODES:
            break
    return total


def _calls(nodes: Iterable[onnx.NodeProto]) -> Iterable[_FunctionKey]:
    """Yield domain and type of all nodes, those in subgraphs included."""
    pending = [nodes]
    while pending:
        for node in pending.pop():
            yield node.domain, node.op_type
            for attribute in node.attribute:
                pending += [graph.node for graph in (attribute.g, *attribute.graphs) if graph.node]
