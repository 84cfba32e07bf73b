"""Round trips with their error bounds, golden vectors, and payloads that must be refused."""

import base64
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.codecs import (
    Array,
    Buffer,
    CodecError,
    TensorSpec,
    decode_tensor,
    encode_tensor,
    make_registry,
    open_tensor,
    seal,
)

REGISTRY = make_registry()
LOSSY_STEPS = {"uint8": 255, "sparse8": 255, "uint4": 15}
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))

shapes = arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9)
floats = st.sampled_from(["float16", "float32", "float64"])


def finite(dtype: str, limit: float) -> st.SearchStrategy[float]:
    widths: dict[str, Literal[16, 32, 64]] = {"float16": 16, "float32": 32, "float64": 64}
    return st.floats(-limit, limit, width=widths[dtype])


@st.composite
def feature_maps(draw: st.DrawFn, limit: float = 60000.0) -> Array:
    dtype = draw(floats)
    return draw(arrays.arrays(dtype, draw(shapes), elements=finite(dtype, limit), fill=st.just(0)))


@st.composite
def anything(draw: st.DrawFn) -> Array:
    dtype = draw(
        st.one_of(
            arrays.integer_dtypes(endianness="="),
            arrays.boolean_dtypes(),
            arrays.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
            arrays.complex_number_dtypes(endianness="=", sizes=(64, 128)),
        )
    )
    return draw(arrays.arrays(dtype, draw(shapes)))


def round_trip(tensor: Array, name: str) -> Array:
    encoded = encode_tensor(tensor, REGISTRY[name])
    payload = encoded.payload()
    assert len(payload) == encoded.size_bytes
    return decode_tensor(name, tensor.dtype.name, tensor.shape, payload, REGISTRY)


@pytest.mark.parametrize("name", ["raw", "raw+zstd"])
@given(tensor=anything())
def test_lossless_codecs_give_back_every_tensor_bit_for_bit(name: str, tensor: Array) -> None:
    decoded = round_trip(tensor, name)
    assert decoded.dtype == tensor.dtype
    assert decoded.shape == tensor.shape
    assert decoded.tobytes() == tensor.tobytes()


@pytest.mark.parametrize("name", ["float16", "float16+zstd"])
@given(tensor=feature_maps())
def test_float16_is_within_half_a_unit_in_the_last_place(name: str, tensor: Array) -> None:
    decoded = round_trip(tensor, name)
    assert decoded.dtype == tensor.dtype
    assert decoded.shape == tensor.shape
    error = np.abs(decoded.astype(np.float64) - tensor)
    assert (error <= np.abs(tensor) * 2.0**-11 + 2.0**-25).all()


@pytest.mark.parametrize("name", [name + tail for name in LOSSY_STEPS for tail in ("", "+zstd")])
@given(tensor=feature_maps())
def test_quantised_values_are_within_a_step_of_their_channel_and_zeros_are_exact(name: str, tensor: Array) -> None:
    decoded = round_trip(tensor, name)
    assert decoded.dtype == tensor.dtype
    assert decoded.shape == tensor.shape
    grouped = TensorSpec.of(tensor).grouped_shape
    values = tensor.astype(np.float64).reshape(grouped)
    spans = np.maximum(values.max(axis=(0, 2), initial=0), 0) - np.minimum(values.min(axis=(0, 2), initial=0), 0)
    steps = spans / LOSSY_STEPS[name.removesuffix("+zstd")] * (1 + 2.0**-7)
    rounding = np.abs(values) * 2.0**-10 if tensor.dtype == np.float16 else np.abs(values) * 2.0**-22
    error = np.abs(decoded.astype(np.float64).reshape(grouped) - values)
    assert (error <= steps[:, None] + rounding + 1e-27).all()
    assert (decoded.astype(np.float64)[tensor == 0] == 0).all()


@given(tensor=feature_maps(limit=1e4))
def test_sparse_and_dense_bytes_restore_the_same_numbers(tensor: Array) -> None:
    assert round_trip(tensor, "sparse8").tobytes() == round_trip(tensor, "uint8").tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["float16", "uint8", "sparse8+zstd", "uint4"])
def test_lossy_codecs_refuse_values_that_are_not_finite(name: str, bad: float) -> None:
    tensor = np.ones((1, 4, 8, 8), np.float32)
    tensor[0, 2, 3, 4] = bad
    with pytest.raises(CodecError, match="not finite"):
        encode_tensor(tensor, REGISTRY[name])
    assert round_trip(tensor, "raw+zstd").tobytes() == tensor.tobytes()


def test_what_a_codec_cannot_represent_is_refused() -> None:
    with pytest.raises(CodecError, match="not finite in float16"):
        encode_tensor(np.array([70000.0], np.float32), REGISTRY["float16"])
    with pytest.raises(CodecError, match="scale"):
        encode_tensor(np.array([3.4e38, -3.4e38], np.float32), REGISTRY["uint8"])
    with pytest.raises(CodecError, match="not finite"):
        encode_tensor(np.array([1e300]), REGISTRY["uint8"])
    with pytest.raises(CodecError, match="does not carry int64"):
        encode_tensor(np.arange(4), REGISTRY["uint8"])
    with pytest.raises(CodecError, match="no codec carries"):
        encode_tensor(np.array(["text"]), REGISTRY["raw"])


def test_raw_is_neither_copied_nor_dressed() -> None:
    tensor = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    payload = encode_tensor(tensor, REGISTRY["raw"]).payload()
    assert np.shares_memory(np.frombuffer(payload, np.uint8), tensor)
    decoded = decode_tensor("raw", "float32", (2, 3, 4), payload, REGISTRY)
    assert np.shares_memory(decoded, tensor)


def test_a_body_begins_at_a_multiple_of_sixteen_bytes() -> None:
    for name, codec in REGISTRY.items():
        pieces = encode_tensor(np.ones((1, 2, 4, 4), np.float32), codec).pieces
        assert name == "raw" or len(pieces[0]) % 16 == 0


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_vectors_stay_readable_and_are_still_written(path: Path) -> None:
    golden = json.loads(path.read_text())
    shape, dtype = tuple(golden["shape"]), golden["dtype"]
    tensor = np.frombuffer(base64.b64decode(golden["tensor"]), dtype).reshape(shape)
    decoded = np.frombuffer(base64.b64decode(golden["decoded"]), dtype).reshape(shape)
    payload = base64.b64decode(golden["payload"])
    assert decode_tensor(golden["codec"], dtype, shape, payload, REGISTRY).tobytes() == decoded.tobytes()
    if "zstd" not in golden["codec"]:
        assert bytes(encode_tensor(tensor, REGISTRY[golden["codec"]]).payload()) == payload


def test_there_is_a_golden_vector_for_every_codec() -> None:
    assert {json.loads(path.read_text())["codec"] for path in GOLDEN} == set(REGISTRY)


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(REGISTRY)),
    dtype=st.sampled_from(["float32", "float16", "int8", "bool", "bfloat16", "object", "O", ""]),
    shape=st.lists(st.integers(-2, 12), max_size=5),
    body=st.binary(max_size=400),
    dressed=st.booleans(),
)
def test_arbitrary_bytes_decode_or_are_refused(
    name: str, dtype: str, shape: tuple[int, ...], body: bytes, dressed: bool
) -> None:
    payload = body
    if dressed and dtype in ("float32", "float16"):
        payload = b"".join(seal(REGISTRY[name], TensorSpec(np.dtype(dtype), ()), [body]).pieces)
    refusal, decoded = "", None
    try:
        decoded = decode_tensor(name, dtype, tuple(shape), payload, REGISTRY)
    except CodecError as error:
        refusal = str(error)
    if decoded is None:
        assert refusal
        assert "\n" not in refusal
    else:
        assert decoded.dtype.name == dtype
        assert decoded.shape == tuple(shape)


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(set(REGISTRY) - {"raw"})),
    tensor=feature_maps(limit=1e4),
    position=st.integers(0, 10_000),
    value=st.integers(0, 255),
)
def test_a_damaged_payload_decodes_to_finite_numbers_or_is_refused(
    name: str, tensor: Array, position: int, value: int
) -> None:
    payload = bytearray(encode_tensor(tensor, REGISTRY[name]).payload())
    payload[position % len(payload)] = value
    try:
        decoded = decode_tensor(name, tensor.dtype.name, tensor.shape, payload, REGISTRY)
    except CodecError:
        return
    assert decoded.shape == tensor.shape
    if not name.startswith("raw"):
        assert np.isfinite(decoded).all()


def payload_of(name: str, *pieces: Buffer) -> bytes:
    return b"".join(seal(REGISTRY[name], TensorSpec(np.dtype("float32"), ()), pieces).pieces)


SHAPE = (1, 2, 4, 4)
SCALES = struct.pack("<HH", 0x3F80, 0x3F80)


@pytest.mark.parametrize(
    ("name", "payload", "message"),
    [
        ("raw", bytes(127), "127 bytes for a tensor that takes 128"),
        ("float16", payload_of("float16", bytes(63)), "63 bytes for a tensor that takes 64"),
        ("float16", payload_of("float16", bytes(62) + b"\xff\x7e"), "not finite in float16"),
        ("float16", payload_of("float16", b"\x00\xfc" + bytes(62)), "not finite in float16"),
        ("uint8", payload_of("uint8", bytes(39)), "39 bytes for a tensor that takes 38"),
        ("uint8", payload_of("uint8", struct.pack("<HH", 0x7FC0, 0x3F80), bytes(34)), "not finite"),
        ("uint8", payload_of("uint8", struct.pack("<HH", 0x7F80, 0x3F80), bytes(34)), "not finite"),
        ("uint8", payload_of("uint8", struct.pack("<HH", 0xBF80, 0x3F80), bytes(34)), "negative"),
        ("uint8", payload_of("uint8", struct.pack("<HH", 0x7F00, 0x3F80), bytes(34)), "too large"),
        ("uint8", payload_of("uint8", bytes(38)), "scale is zero"),
        ("uint4", payload_of("uint4", SCALES, b"\x10\x00", bytes(16)), "zero point"),
        ("sparse8", payload_of("sparse8", SCALES, bytes(2), b"\xff\0\0\0", bytes(7)), "do not fit the bits"),
        ("sparse8", payload_of("sparse8", bytes(9)), "9 bytes for a tensor that takes 10 to 42"),
        ("uint8", payload_of("uint4", bytes(38)), "not encoded by uint8"),
        ("uint8", b"SGC\x02" + bytes(60), "not of version 1"),
        ("uint8", bytes(60), "does not begin with"),
        ("uint8", b"", "does not begin with"),
        ("uint8+zstd", payload_of("uint8+zstd", b"no frame here"), "no zstd frame"),
        ("uint8+zstd", payload_of("uint8+zstd", zstandard.compress(bytes(37))), "declares 37 bytes; 38 to 38"),
        ("uint8+zstd", payload_of("uint8+zstd", zstandard.compress(SCALES + bytes(34)) + b"more"), "no zstd frame"),
        ("gzip", bytes(60), "no codec is called 'gzip'"),
    ],
)
def test_malformed_payloads_are_refused_with_their_reason(name: str, payload: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        decode_tensor(name, "float32", SHAPE, payload, REGISTRY)


@pytest.mark.parametrize(
    ("dtype", "shape", "message"),
    [
        ("float32", (1 << 40,), "are accepted"),
        ("float32", (1 << 62, 0), "are accepted"),
        ("float32", (-1, 4), "is no shape"),
        ("float32", (1.0, 4), "is no shape"),
        ("float32", (True,), "is no shape"),
        ("float32", (1,) * 40, "is no shape"),
        ("bfloat16", (4,), "no codec carries"),
        ("uint8", (4,), "does not carry uint8"),
    ],
)
def test_impossible_descriptions_are_refused(dtype: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        open_tensor("uint8", dtype, shape, payload_of("uint8", bytes(16)), REGISTRY)


def test_a_decompression_bomb_is_refused_before_memory_is_allocated() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
    payload = payload_of("uint8+zstd", bomb)
    assert len(payload) < 64 << 10
    tracemalloc.start()
    with pytest.raises(CodecError, match="declares 67108864 bytes"):
        decode_tensor("uint8+zstd", "float32", (1, 64, 112, 112), payload, REGISTRY)
    with pytest.raises(CodecError, match="are accepted"):
        decode_tensor("uint8+zstd", "float32", (1, 4, 4096, 4096), payload, REGISTRY, limit_bytes=1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_frame_that_hides_its_size_is_refused() -> None:
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(SCALES + bytes(34))
    with pytest.raises(CodecError, match="a zstd frame declares"):
        decode_tensor("uint8+zstd", "float32", SHAPE, payload_of("uint8+zstd", unsized), REGISTRY)
