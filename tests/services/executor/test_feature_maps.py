from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.feature_maps import FeatureMap, decode_feature_map, encode_feature_map, encode_tensors
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from shared.bus.errors import DecodeError
from shared.bus.frame import encode_frame
from shared.codecs import load_registry
from shared.messages.base import MessageError
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage

CODER = Coder(load_registry(), EngineSettings())
HEADER = FeatureMapHeader(
    transfer_id="t",
    sender="a",
    request_id="r",
    stream="s",
    model="0" * 64,
    epoch=1,
    attempt=1,
    stages=(PlanStage(start=0, stop=1, device="a"), PlanStage(start=1, stop=2, device="b")),
    stage=1,
    tensors=(),
    source="a",
    accepted_at_s=0.0,
    dispatched_at_s=0.0,
    correlation_data=b"\x00\xff",
)
TENSORS = {
    "x": np.random.default_rng(0).standard_normal((1, 8, 32, 32)).astype(np.float32),
    "mask": np.array([[True, False]]),
    "empty": np.zeros((0, 3), np.int64),
}


def wire(tensors: dict[str, np.ndarray], codec: str = "raw", **changes: Any) -> bytes:
    header = HEADER.model_copy(update=changes)
    return b"".join(bytes(piece) for piece in encode_feature_map(header, encode_tensors(tensors, codec, CODER)))


@pytest.mark.parametrize("codec", ["raw", "raw+zstd"])
def test_what_is_sent_raw_arrives_as_it_was(codec: str) -> None:
    received = decode_feature_map(wire(TENSORS, codec), CODER.registry)
    assert received.header.model_copy(update={"tensors": ()}) == HEADER
    arrays = received.arrays(CODER)
    assert arrays.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)
    assert received.size_bytes == sum(array.nbytes for array in TENSORS.values())
    assert received.is_encoded == (codec != "raw")


def test_a_codec_takes_what_it_can_and_leaves_the_rest_raw() -> None:
    received = decode_feature_map(wire(TENSORS, "float16"), CODER.registry)
    assert {spec.name: spec.codec for spec in received.header.tensors} == {
        "x": "float16",
        "mask": "raw",
        "empty": "raw",
    }
    assert received.is_encoded
    np.testing.assert_allclose(received.arrays(CODER)["x"], TENSORS["x"], rtol=1e-3)


def test_a_codec_that_is_not_known_here_travels_raw() -> None:
    received = decode_feature_map(wire(TENSORS, "of-a-newer-version"), CODER.registry)
    assert {spec.codec for spec in received.header.tensors} == {"raw"}
    assert not received.is_encoded
    assert not FeatureMap(HEADER, TENSORS).is_encoded


def test_tensors_that_do_not_lie_in_one_piece_are_sent_all_the_same() -> None:
    crooked = {"x": TENSORS["x"].transpose(0, 2, 3, 1)}
    assert np.array_equal(decode_feature_map(wire(crooked), CODER.registry).arrays(CODER)["x"], crooked["x"])


def test_headers_that_cannot_be_are_refused() -> None:
    with pytest.raises(MessageError, match="stage 2 of a route of 2"):
        decode_feature_map(wire(TENSORS, stage=2), CODER.registry)
    with pytest.raises(MessageError, match="attempt"):
        decode_feature_map(wire(TENSORS, attempt=0), CODER.registry)
    document = HEADER.model_dump(mode="python")
    with pytest.raises(MessageError, match="1 tensors arrived and 0 are described"):
        decode_feature_map(b"".join(bytes(piece) for piece in encode_frame(document, [b"x"])), CODER.registry)
    described = {"name": "x", "dtype": "float32", "shape": [2], "codec": "raw", "size_bytes": 8}
    for spec in (described, described | {"dtype": "object"}, described | {"codec": "none-such"}):
        buffer = b"".join(bytes(piece) for piece in encode_frame(document | {"tensors": [spec]}, [b"1234"]))
        with pytest.raises(MessageError):
            decode_feature_map(buffer, CODER.registry)


@given(st.binary(max_size=500), st.integers(0, 2000))
def test_any_bytes_are_a_feature_map_or_refused(noise: bytes, cut: int) -> None:
    whole = wire(TENSORS)
    for buffer in (noise, whole[:cut], whole[:cut] + noise + whole[cut + len(noise) :]):
        try:
            decode_feature_map(buffer, CODER.registry)
        except (MessageError, DecodeError):
            continue
