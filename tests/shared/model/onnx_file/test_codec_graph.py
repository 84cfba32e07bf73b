"""What a graph encodes are the bytes that numpy encodes; segments that encode and decode make the same numbers."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper

from shared.codecs import Array, Buffer, CodecError, StagedCodec, TensorSpec, make_registry
from shared.model.errors import UnsupportedModelError
from shared.model.onnx_file.codec_graph import (
    decoded_names,
    decoder_model,
    encoded_names,
    encoder_model,
    is_fusible,
    part_shapes,
    with_encoder,
)
from shared.model.onnx_file.runtime import ModelSession

REGISTRY = make_registry()
FUSED = ["float16", "uint8", "uint4"]


def staged(representation: str) -> StagedCodec:
    codec = REGISTRY[representation]
    assert isinstance(codec, StagedCodec)
    return codec


def graph_encode(tensor: Array, representation: str) -> list[Buffer]:
    codec = staged(representation)
    spec = TensorSpec.of(tensor)
    session = ModelSession(encoder_model("x", spec, representation))
    names = encoded_names("x", representation)
    results = session.run({"x": tensor}, names)
    return codec.pack(codec.representation.accept(tuple(results[name] for name in names)), spec)


def graph_decode(body: bytes, spec: TensorSpec, representation: str) -> Array:
    parts = staged(representation).unpack(memoryview(body), spec)
    session = ModelSession(decoder_model("x", spec, representation))
    shapes = part_shapes(spec, representation)
    names = decoded_names("x", representation)
    return session.run({n: part.reshape(shape) for n, part, shape in zip(names, parts, shapes, strict=True)})["x"]


def feature_maps() -> st.SearchStrategy[Array]:
    scaled = st.floats(-(2.0**15), 2.0**15, width=32)
    tiny = st.floats(-(2.0**-99), 2.0**-99, width=32)
    shapes = arrays.array_shapes(min_dims=0, max_dims=5, min_side=1, max_side=8)
    return st.one_of(*(arrays.arrays(np.float32, shapes, elements=e, fill=st.just(0)) for e in (scaled, tiny)))


@pytest.mark.parametrize("representation", FUSED)
@settings(max_examples=60)
@given(tensor=feature_maps())
def test_a_graph_encodes_and_decodes_the_bytes_that_numpy_does(representation: str, tensor: Array) -> None:
    spec = TensorSpec.of(tensor)
    codec = REGISTRY[representation]
    body = b"".join(codec.encode(tensor))
    assert b"".join(graph_encode(tensor, representation)) == body
    assert graph_decode(body, spec, representation).tobytes() == codec.decode(memoryview(body), spec).tobytes()


@pytest.mark.parametrize("representation", FUSED)
@pytest.mark.parametrize("shape", [(1, 64, 56, 56), (2, 48, 13, 13), (1, 1280, 7, 7), (1, 1000)])
def test_real_sizes_are_encoded_alike(representation: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    tensor = rng.normal(size=shape).astype(np.float32) * rng.uniform(0, 100, shape[:2] + (1,) * (len(shape) - 2))
    tensor = np.maximum(tensor, -2).astype(np.float32)
    assert b"".join(graph_encode(tensor, representation)) == b"".join(REGISTRY[representation].encode(tensor))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("representation", FUSED)
def test_a_graph_shows_values_that_are_not_finite(representation: str, bad: float) -> None:
    tensor = np.ones((1, 4, 8, 8), np.float32)
    tensor[0, 2, 3, 4] = bad
    with pytest.raises(CodecError, match="not finite"):
        graph_encode(tensor, representation)


def relu_segment(opset: int, shape: tuple[int | str, ...] = (1, 4, 6, 6), dtype: int = TensorProto.FLOAT) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["b"])],
        "relu",
        [helper.make_tensor_value_info("a", dtype, shape)],
        [helper.make_tensor_value_info("b", dtype, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("representation", FUSED)
def test_a_segment_gives_its_outputs_and_encodes_them(opset: int, representation: str) -> None:
    codec, segment = staged(representation), relu_segment(opset)
    tensor = np.random.default_rng(2).normal(size=(1, 4, 6, 6)).astype(np.float32)
    spec = TensorSpec.of(tensor)
    model, specs = with_encoder(segment, representation)
    assert specs == {"b": spec}
    fused = ModelSession(model)
    names = encoded_names("b", representation)
    assert set(fused.outputs) == {"b", *names}
    results = fused.run({"a": tensor}, fused.outputs)
    assert results["b"].tobytes() == np.maximum(tensor, 0).tobytes()
    body = codec.pack(codec.representation.accept(tuple(results[name] for name in names)), spec)
    assert b"".join(body) == b"".join(codec.encode(np.maximum(tensor, 0)))
    onnx.checker.check_model(model, full_check=True)


def test_what_a_graph_cannot_encode_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="opset 12"):
        with_encoder(relu_segment(12), "uint8")
    with pytest.raises(UnsupportedModelError, match="no graph represents 'b' as uint8"):
        with_encoder(relu_segment(14, dtype=TensorProto.INT32), "uint8")
    with pytest.raises(UnsupportedModelError, match="no graph represents 'b' as float16"):
        with_encoder(relu_segment(14, shape=(1, "rows")), "float16")
    with pytest.raises(UnsupportedModelError, match="no graph represents 'x' as uint8"):
        decoder_model("x", TensorSpec.read("float64", (1, 3)), "uint8")
    with pytest.raises(UnsupportedModelError, match="as zip"):
        with_encoder(relu_segment(14), "zip")
    assert not is_fusible(TensorSpec.read("float32", (0, 3)), "uint8")
