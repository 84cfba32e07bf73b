"""Graphs and numpy make the same payloads; what cannot be encoded travels raw; what cannot be decoded is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from shared.codecs import CodecError, decode_tensor, encode_tensor, make_registry

REGISTRY = make_registry()


@pytest.fixture
def coder() -> Coder:
    return Coder(REGISTRY, EngineSettings())


def feature_map(shape: tuple[int, ...] = (1, 24, 28, 28), seed: int = 0) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(size=shape), 0).astype(np.float32)


@pytest.mark.parametrize("name", list(REGISTRY))
@pytest.mark.parametrize("shape", [(1, 24, 28, 28), (1, 10), (1, 5000), ()])
def test_payloads_are_those_of_numpy(coder: Coder, name: str, shape: tuple[int, ...]) -> None:
    tensor = feature_map(shape)
    encoded = coder.encode(tensor, name)
    assert encoded.codec == name
    payload = encoded.payload()
    assert bytes(payload) == bytes(encode_tensor(tensor, REGISTRY[name]).payload())
    decoded = coder.decode(name, "float32", shape, payload)
    assert decoded.tobytes() == decode_tensor(name, "float32", shape, payload, REGISTRY).tobytes()
    assert decoded.shape == shape


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64"])
def test_types_without_a_graph_are_encoded_as_well(coder: Coder, dtype: str) -> None:
    tensor = feature_map().astype(dtype)
    name = "raw+zstd" if dtype == "int64" else "uint8+zstd"
    payload = coder.encode(tensor, name).payload()
    decoded = coder.decode(name, dtype, tensor.shape, payload)
    assert decoded.dtype == tensor.dtype
    assert np.allclose(decoded, tensor, atol=0.05)


def test_what_a_codec_cannot_represent_travels_raw(coder: Coder) -> None:
    tensor = feature_map()
    tensor[0, 3, 4, 5] = np.nan
    with pytest.raises(CodecError, match="not finite"):
        coder.encode(tensor, "uint8+zstd")
    encoded = coder.encode_or_raw(tensor, "uint8+zstd")
    assert encoded.codec == "raw"
    assert coder.decode("raw", "float32", tensor.shape, encoded.payload()).tobytes() == tensor.tobytes()
    assert coder.encode_or_raw(np.arange(5), "float16").codec == "raw"
    assert coder.encode_or_raw(feature_map(), "uint8").codec == "uint8"


def test_a_payload_that_does_not_fit_its_header_is_refused(coder: Coder) -> None:
    payload = coder.encode(feature_map(), "uint8").payload()
    with pytest.raises(CodecError, match="takes"):
        coder.decode("uint8", "float32", (1, 24, 28, 29), payload)
    with pytest.raises(CodecError, match="are accepted"):
        coder.decode("uint8", "float32", (1, 24, 28, 28), payload, limit_bytes=1000)
    with pytest.raises(CodecError, match="no codec"):
        coder.decode("zip", "float32", (1, 24, 28, 28), payload)


def test_threads_share_a_coder_that_keeps_few_graphs() -> None:
    coder = Coder(REGISTRY, EngineSettings(), max_graphs=2)
    tensors = [feature_map((1, 8, 24 + index, 24)) for index in range(6)]

    def error_of_round_trip(tensor: np.ndarray) -> float:
        payload = coder.encode(tensor, "uint8").payload()
        return float(np.abs(coder.decode("uint8", "float32", tensor.shape, payload) - tensor).max())

    with ThreadPoolExecutor(4) as pool:
        errors = list(pool.map(error_of_round_trip, tensors * 4))
    assert max(errors) < 0.02
