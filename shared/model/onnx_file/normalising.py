"""Brings models that ONNX Runtime runs into the strict form that ONNX's checker and the reader expect."""

import heapq
import math
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from shared.model.errors import ModelFileError
from shared.model.onnx_file.protos import MAX_BYTES, captures, is_readable

# Before this version of the format, initializers had to be listed among the inputs.
_FREE_INITIALIZERS: Final = 4
# The runtime's own operators have one version.
_CONTRIBUTED: Final = "com.microsoft"
_MACHINE_LEARNING: Final = "ai.onnx.ml"


def normalise(proto: onnx.ModelProto) -> bool:
    """Make a model valid by the letter, in place, without a change of what it computes.

    Missing imports of the domains that every runtime has are added. Nodes are put in topological order.
    Sparse initializers become dense. Initializers of types that no weight can have, such as strings, become `Constant`
    nodes.

    Returns:
        Whether anything was changed.

    Raises:
        ModelFileError: The places of a sparse initializer are not in its shape.
    """
    before = proto.ir_version
    proto.ir_version = max(_FREE_INITIALIZERS, before)
    changes = (
        before != proto.ir_version,
        _import_domains(proto),
        _fill_sparse(proto.graph),
        _constants(proto.graph),
        _sort_all(proto.graph),
    )
    return any(changes)


def _import_domains(proto: onnx.ModelProto) -> bool:
    """Import the domains that the runtime has without an import; return whether one was missing."""
    imported = {opset.domain for opset in proto.opset_import}
    used = {(node.domain, node.op_type) for node in _all_nodes(proto.graph) if node.domain not in imported}
    missing = {domain for domain, _ in used} & {_CONTRIBUTED, _MACHINE_LEARNING}
    versions = {_CONTRIBUTED: 1, _MACHINE_LEARNING: _newest(used)}
    proto.opset_import.extend(helper.make_opsetid(domain, versions[domain]) for domain in sorted(missing))
    return bool(missing)


def _newest(used: set[tuple[str, str]]) -> int:
    """Return the least version of `ai.onnx.ml` that has the newest form of each operator, as the runtime takes it."""
    schemas = (schema for schema in defs.get_all_schemas() if schema.domain == _MACHINE_LEARNING)
    return max((schema.since_version for schema in schemas if (schema.domain, schema.name) in used), default=1)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its subgraphs."""
    for part in _all_graphs(graph):
        yield from part.node


def _all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_graphs(inner)


def _fill_sparse(graph: onnx.GraphProto) -> bool:
    sparse = list(graph.sparse_initializer)
    for tensor in sparse:
        values, places = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
        if math.prod(tensor.dims) * values.itemsize > MAX_BYTES:
            raise ModelFileError(f"sparse initializer {tensor.values.name!r} is larger than 2 GiB when it is dense")
        # Places are numbers of elements, or one row of coordinates for each value.
        try:
            dense = np.zeros(tuple(tensor.dims), values.dtype)
            index = np.unravel_index(places, dense.shape) if places.ndim == 1 else tuple(places.T)
            dense[index] = values
        except (IndexError, ValueError) as exc:
            raise ModelFileError(f"sparse initializer {tensor.values.name!r} is broken: {exc}") from exc
        graph.initializer.append(numpy_helper.from_array(dense, tensor.values.name))
    del graph.sparse_initializer[:]
    return bool(sparse)


def _constants(graph: onnx.GraphProto) -> bool:
    strange = [tensor for tensor in graph.initializer if not is_readable(tensor)]
    if not strange:
        return False
    names = {tensor.name for tensor in strange}
    for values in (graph.initializer, graph.input):
        kept = [value for value in values if value.name not in names]
        del values[:]
        values.extend(kept)
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in strange]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend((*nodes, *rest))
    return True


def _sort_all(graph: onnx.GraphProto) -> bool:
    # A list, because every graph has to be sorted: `any` would stop at the first.
    return any([_sort(part) for part in _all_graphs(graph)])


def _sort(graph: onnx.GraphProto) -> bool:
    """Put nodes behind those that write what they read, and keep their order otherwise."""
    nodes = list(graph.node)
    writers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    before = [{writers[name] for name in (*node.input, *captures(node)) if name in writers} for node in nodes]
    if all(index > max(writing, default=-1) for index, writing in enumerate(before)):
        return False
    readers: list[list[int]] = [[] for _ in nodes]
    missing = Counter({index: len(writing) for index, writing in enumerate(before)})
    for index, writing in enumerate(before):
        for writer in writing:
            readers[writer].append(index)
    ready = [index for index in range(len(nodes)) if not missing[index]]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers[order[-1]]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        return False  # A cycle, which the checker reports.
    sorted_nodes = [nodes[index] for index in order]
    del graph.node[:]
    graph.node.extend(sorted_nodes)
    return True
