"""Writes graphs and segments as ONNX files."""

from pathlib import Path
from typing import Final

import onnx
from onnx import helper

from shared.model.errors import UnsupportedModelError
from shared.model.graph import Graph
from shared.model.onnx_file.protos import MAX_BYTES, write_graph
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from shared.model.weights import is_stored

# The oldest version of the format whose initializers need not be inputs as well.
_MIN_IR_VERSION: Final = 4


def to_bytes(graph: Graph) -> bytes:
    """Return the bytes of a graph as a standalone ONNX model, whose initializers are not among its inputs.

    Raises:
        UnsupportedModelError: The file would be larger than the 2 GiB that protocol buffers allow.
    """
    opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
    proto = onnx.ModelProto(producer_name="segue", ir_version=_ir_version(opsets))
    proto.opset_import.extend(opsets)
    size = sum(weight.tensor.size_bytes for weight in graph.weights.values() if not is_stored(weight))
    if size > MAX_BYTES:
        raise UnsupportedModelError(
            f"graph {graph.name!r} needs {size} bytes, but an ONNX file holds 2 GiB: cut it smaller"
        )
    write_graph(graph, proto.graph)
    data: bytes = proto.SerializeToString()
    return data


def write_onnx(graph: Graph, path: Path) -> None:
    """Write a graph as an ONNX file.

    Raises:
        UnsupportedModelError: The file would be larger than 2 GiB.
        OSError: The file cannot be written.
    """
    path.write_bytes(to_bytes(graph))


def extract_segment(model: PartitionedModel, start: int, stop: int) -> bytes:
    """Return blocks [start, stop) of a model as the bytes of a standalone ONNX model.

    Inputs and outputs are the tensors that cross before blocks `start` and `stop`, in the order of the cuts in the
    model's analysis. At the ends they are the model's own, in their declared order.

    Raises:
        CutError: The model has no such range of blocks.
    """
    return to_bytes(segment_graph(model, start, stop))


def _ir_version(opsets: list[onnx.OperatorSetIdProto]) -> int:
    """Return the oldest version of the format that the operators allow, which old runtimes can read as well."""
    needed = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
    return max(_MIN_IR_VERSION, needed)
