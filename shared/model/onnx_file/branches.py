"""Replaces `If` nodes whose condition is known by the nodes of the branch that runs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from shared.model.errors import UnsupportedModelError
from shared.model.graph import Graph, Node, Opaque
from shared.model.onnx_file.protos import is_readable, read_node, read_weight
from shared.model.weights import Weight


def known_conditions(graph: Graph) -> dict[str, bool]:
    """Return the conditions of `If` nodes that are constants, by name."""
    names = (node.inputs[0] for node in graph.nodes if _is_branching(node))
    return {name: bool(np.all(graph.weights[name].values())) for name in names if name in graph.weights}


def take_branches(graph: Graph, conditions: Mapping[str, bool]) -> Graph:
    """Replace the `If` nodes with these conditions by the nodes of the branch that runs.

    An `If` is one operator, which can be cut nowhere. ONNX Runtime 1.31 ends with a segmentation fault when it replaces
    the branches of some models itself.

    Args:
        graph: The graph, in topological order.
        conditions: Values of conditions by name.

    Raises:
        UnsupportedModelError: A node has no such branch.
    """
    nodes: list[Node] = []
    weights: dict[str, Weight] = {}
    for node in graph.nodes:
        if not _is_branching(node) or node.inputs[0] not in conditions:
            nodes.append(node)
            continue
        branch = _branch(node, "then_branch" if conditions[node.inputs[0]] else "else_branch")
        inner, constants = _unfold(node, branch)
        nodes += inner
        weights |= constants
    return replace(graph, nodes=tuple(nodes), weights={**graph.weights, **weights})


def _is_branching(node: Node) -> bool:
    return node.op_type == "If" and not node.domain


def _branch(node: Node, name: str) -> onnx.GraphProto:
    attribute = node.attributes.get(name)
    if not isinstance(attribute, Opaque):
        raise UnsupportedModelError(f"node {node.label!r} has no {name}")
    graph: onnx.GraphProto = onnx.AttributeProto.FromString(attribute.data).g
    return graph


def _unfold(node: Node, branch: onnx.GraphProto) -> tuple[list[Node], dict[str, Weight]]:
    """Return the nodes and the constants of a branch, under names that are unique in the whole graph."""
    own = [tensor.name for tensor in branch.initializer] + [
        name for each in branch.node for name in each.output if name
    ]
    # The first output of the node is unique, so names that begin with it are unique too.
    names = {name: f"{node.written[0]}/{name}" for name in own}
    written = {name for each in branch.node for name in each.output}
    ends: list[onnx.NodeProto] = []
    for inside, outside in zip((value.name for value in branch.output), node.outputs, strict=True):
        if not outside:
            continue
        if inside in written:
            names[inside] = outside
            written.discard(inside)
        else:
            # A constant, a tensor from outside, or one that serves for two outputs.
            ends.append(helper.make_node("Identity", [inside], [outside]))
    weights: dict[str, Weight] = {}
    constants: list[onnx.NodeProto] = []
    for tensor in branch.initializer:
        if is_readable(tensor):
            weight = read_weight(tensor)
            name = names[tensor.name]
            weights[name] = Weight(replace(weight.tensor, name=name), weight.source)
        else:
            constants.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
    inner = [_renamed(each, names) for each in (*constants, *branch.node)]
    outer = [_renamed_inputs(each, names) for each in ends]
    return [read_node(each) for each in (*inner, *outer)], weights


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a node with other names of tensors, also in its subgraphs."""
    copy = onnx.NodeProto.FromString(node.SerializeToString())
    copy.output[:] = [names.get(name, name) for name in copy.output]
    return _renamed_inputs(copy, names)


def _renamed_inputs(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    node.input[:] = [names.get(name, name) for name in node.input]
    for graph in _subgraphs(node):
        _rename_captures(graph, names)
    return node


def _rename_captures(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename what a subgraph reads of the graphs around it, in place. Its own names hide theirs."""
    own = {value.name for value in (*graph.input, *graph.initializer)} | {
        name for node in graph.node for name in node.output
    }
    outer = {name: other for name, other in names.items() if name not in own}
    for node in graph.node:
        _renamed_inputs(node, outer)
    for value in graph.output:
        value.name = outer.get(value.name, value.name)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs
