"""The representations of codecs as ONNX operators, inside a segment's graph or as a separate small model.

ONNX Runtime converts to float16 some 60 times as fast as numpy, and quantises about 1.5 times as fast. Inside a
segment's graph the raw feature map is not copied out at all. The results are those of `shared.codecs.representation`,
bit for bit.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.codecs.representation import HEADROOM, TINY_SCALE
from shared.codecs.spec import CHANNEL_AXIS, Array, TensorSpec
from shared.model.errors import UnsupportedModelError

# The oldest opset with quantisation per channel and bfloat16. Segments of older models are encoded outside their graph.
FUSED_OPSET: Final = 13
# From this opset on, axes of reductions are an input; before, they were an attribute.
_AXES_ARE_INPUTS: Final = 18
_OWN_OPSET: Final = 18
_OWN_IR_VERSION: Final = 8
_LARGEST: Final = {"uint8": 255, "uint4": 15}
# Outputs of an encoder for each tensor, in the order of `Representation.represent`.
_PARTS: Final = {
    "float16": ("halves",),
    "uint8": ("scales", "zeros", "integers"),
    "uint4": ("scales", "zeros", "integers"),
}
# Further outputs that show the executor whether every value was finite.
_CHECKS: Final = {"float16": (), "uint8": ("sums",), "uint4": ("sums",)}


def is_fusible(spec: TensorSpec, representation: str) -> bool:
    """Return whether a graph can represent such a tensor: float32 and not empty, as float16, uint8 or uint4."""
    return representation in _PARTS and spec.dtype == np.float32 and spec.elements > 0


def encoded_names(tensor: str, representation: str) -> tuple[str, ...]:
    """Return the names of an encoder's outputs for `tensor`, in the order that `Representation.accept` takes."""
    return tuple(f"{tensor}::{part}" for part in (*_PARTS[representation], *_CHECKS[representation]))


def decoded_names(tensor: str, representation: str) -> tuple[str, ...]:
    """Return the names of a decoder's inputs for `tensor`, in the order of `StagedCodec.unpack`."""
    return tuple(f"{tensor}::{part}" for part in _PARTS[representation])


def part_shapes(spec: TensorSpec, representation: str) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the parts of a tensor, as an encoder writes and a decoder reads them."""
    return (spec.shape,) if representation == "float16" else ((spec.channels,), (spec.channels,), spec.grouped_shape)


def encoder_model(tensor: str, spec: TensorSpec, representation: str) -> bytes:
    """Return a model from the float32 input `tensor` to the outputs `encoded_names`.

    Raises:
        UnsupportedModelError: the tensor is not fusible.
    """
    _check(tensor, spec, representation)
    graph = onnx.GraphProto(name=f"encode {representation}")
    graph.input.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, spec.shape))
    _Builder(graph, _OWN_OPSET).encode(tensor, spec, representation)
    return _own_model(graph)


def decoder_model(tensor: str, spec: TensorSpec, representation: str) -> bytes:
    """Return a model from the inputs `decoded_names` to the float32 output `tensor`.

    Raises:
        UnsupportedModelError: the tensor is not fusible.
    """
    _check(tensor, spec, representation)
    graph = onnx.GraphProto(name=f"decode {representation}")
    graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, spec.shape))
    _Builder(graph, _OWN_OPSET).decode(tensor, spec, representation)
    return _own_model(graph)


def with_encoder(segment: bytes, representation: str) -> tuple[bytes, dict[str, TensorSpec]]:
    """Add the outputs `encoded_names` of every output to a segment.

    Args:
        segment: an ONNX model whose outputs are float32 and of known shape.
        representation: `float16`, `uint8` or `uint4`.

    Returns:
        The model, and the description of each encoded output.

    Raises:
        UnsupportedModelError: an output is not fusible, or the model's opset is older than `FUSED_OPSET`.
    """
    model = onnx.load_from_string(segment)
    builder = _Builder(model.graph, _opset(model))
    specs = {value.name: _known_spec(value, representation) for value in model.graph.output}
    for name, spec in specs.items():
        builder.encode(name, spec, representation)
    return model.SerializeToString(), specs


class _Builder:
    """Appends operators to a graph. Every new name begins with that of the tensor and `::`, and so is unique."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self._graph = graph
        self._axes_are_inputs = opset >= _AXES_ARE_INPUTS

    def encode(self, tensor: str, spec: TensorSpec, representation: str) -> None:
        """Append the operators that represent `tensor`, and declare its parts as outputs."""
        if representation == "float16":
            self._node("Cast", [tensor], f"{tensor}::halves", to=TensorProto.FLOAT16)
        else:
            self._quantise(tensor, spec, _LARGEST[representation])
        shapes = [*part_shapes(spec, representation), (spec.channels,)]
        for name, shape in zip(encoded_names(tensor, representation), shapes, strict=False):
            self._graph.output.append(helper.make_tensor_value_info(name, _element_type(name), shape))

    def decode(self, tensor: str, spec: TensorSpec, representation: str) -> None:
        """Append the operators that restore `tensor`, and declare its parts as inputs."""
        names = decoded_names(tensor, representation)
        for name, shape in zip(names, part_shapes(spec, representation), strict=True):
            self._graph.input.append(helper.make_tensor_value_info(name, _element_type(name), shape))
        if representation == "float16":
            self._node("Cast", list(names), tensor, to=TensorProto.FLOAT)
            return
        scales, zeros, integers = names
        grouped = f"{tensor}::values"
        self._node("DequantizeLinear", [integers, scales, zeros], grouped, axis=CHANNEL_AXIS)
        self._node("Reshape", [grouped, self._constant(f"{tensor}::shape", np.array(spec.shape, np.int64))], tensor)

    def _quantise(self, tensor: str, spec: TensorSpec, largest: int) -> None:
        """Append the operators of `Quantised.represent`, and the sum of each channel.

        A sum is not finite if one of its values is not, which quantised integers would hide.
        """

        def name(part: str) -> str:
            return f"{tensor}::{part}"

        def constant(part: str, value: Array) -> str:
            return self._constant(name(part), value)

        nothing = constant("zero", np.array(0, np.float32))
        grouped = self._node(
            "Reshape", [tensor, constant("grouped_shape", np.array(spec.grouped_shape, np.int64))], name("grouped")
        )
        # The range includes 0, so that 0 has an exact representation.
        high = self._node("Max", [self._reduce("ReduceMax", grouped, name("max")), nothing], name("high"))
        low = self._node("Min", [self._reduce("ReduceMin", grouped, name("min")), nothing], name("low"))
        self._reduce("ReduceSum", grouped, name("sums"))
        span = self._node("Sub", [high, low], name("span"))
        step = self._node("Div", [span, constant("largest", np.array(largest, np.float32))], name("step"))
        roomy = self._node("Mul", [step, constant("headroom", np.array(HEADROOM))], name("roomy"))
        # Through bfloat16 and back: the scale that the receiver reads.
        short = self._node("Cast", [roomy], name("short"), to=TensorProto.BFLOAT16)
        rounded = self._node("Cast", [short], name("rounded"), to=TensorProto.FLOAT)
        tiny = self._node("Less", [rounded, constant("tiniest", np.array(TINY_SCALE))], name("tiny"))
        scales = self._node("Where", [tiny, constant("one", np.array(1, np.float32)), rounded], name("scales"))
        # The zero point is -low / scale, rounded and clipped: quantisation with zero points of 0 computes that.
        minus_low = self._node("Neg", [low], name("minus_low"))
        no_zeros = constant("no_zeros", np.zeros(spec.channels, np.uint8))
        zeros = self._node("QuantizeLinear", [minus_low, scales, no_zeros], name("zeros"), axis=0)
        self._node("QuantizeLinear", [grouped, scales, zeros], name("integers"), axis=CHANNEL_AXIS)

    def _reduce(self, operator: str, tensor: str, output: str) -> str:
        """Reduce all axes except the channels."""
        if self._axes_are_inputs or operator == "ReduceSum":
            axes = self._constant(f"{output}_axes", np.array([0, 2], np.int64))
            return self._node(operator, [tensor, axes], output, keepdims=0)
        return self._node(operator, [tensor], output, axes=[0, 2], keepdims=0)

    def _constant(self, name: str, value: Array) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
        return output


def _element_type(part: str) -> int:
    types = {"halves": TensorProto.FLOAT16, "zeros": TensorProto.UINT8, "integers": TensorProto.UINT8}
    return types.get(part.rsplit("::", 1)[1], TensorProto.FLOAT)


def _own_model(graph: onnx.GraphProto) -> bytes:
    opsets = [helper.make_opsetid("", _OWN_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_OWN_IR_VERSION, producer_name="segue")
    data: bytes = model.SerializeToString()
    return data


def _opset(model: onnx.ModelProto) -> int:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < FUSED_OPSET:
        raise UnsupportedModelError(f"operators of opset {opset} cannot encode: {FUSED_OPSET} is the oldest that can")
    return int(opset)


def _known_spec(value: onnx.ValueInfoProto, representation: str) -> TensorSpec:
    kind = value.type.tensor_type
    if kind.elem_type != TensorProto.FLOAT or not all(axis.HasField("dim_value") for axis in kind.shape.dim):
        raise UnsupportedModelError(f"no graph represents {value.name!r} as {representation}")
    spec = TensorSpec(np.dtype(np.float32), tuple(axis.dim_value for axis in kind.shape.dim))
    _check(value.name, spec, representation)
    return spec


def _check(tensor: str, spec: TensorSpec, representation: str) -> None:
    if not is_fusible(spec, representation):
        raise UnsupportedModelError(f"no graph represents {tensor!r} as {representation}")
