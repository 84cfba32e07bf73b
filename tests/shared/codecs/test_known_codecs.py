"""Names on the wire, and codecs that users add."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.codecs import (
    Array,
    Buffer,
    Codec,
    CodecError,
    CodecRegistry,
    TensorSpec,
    decode_tensor,
    encode_tensor,
    load_registry,
    make_registry,
)

BUILT_IN = ["raw", "float16", "uint8", "sparse8", "uint4"]


class Signs:
    """A user's codec: only the signs."""

    name = "signs"
    lossless = False

    def supports(self, spec: TensorSpec) -> bool:
        return spec.is_float

    def encode(self, tensor: Array) -> list[Buffer]:
        return [np.packbits(tensor > 0).tobytes()]

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        size_bytes = (spec.elements + 7) // 8
        return size_bytes, size_bytes

    def decode(self, body: memoryview, spec: TensorSpec) -> Array:
        bits = np.unpackbits(np.frombuffer(body, np.uint8), count=spec.elements)
        return np.where(bits, 1, -1).astype(spec.dtype).reshape(spec.shape)


class Impostor:
    """A codec that takes a name which is taken."""

    name = "uint8"
    lossless = True
    supports = encode = size_bounds = decode = lambda self, *_: None


def not_a_codec() -> object:
    return object()


def entry(name: str, attribute: str) -> EntryPoint:
    return EntryPoint(name=name, value=f"{__name__}:{attribute}", group="segue.codecs")


def test_every_codec_is_there_with_zstd_behind_it() -> None:
    registry = make_registry()
    assert list(registry) == [name + tail for name in BUILT_IN for tail in ("", "+zstd")]
    assert all(isinstance(codec, Codec) and codec.name == name for name, codec in registry.items())
    assert [name for name, codec in registry.items() if codec.lossless] == ["raw", "raw+zstd"]


def test_codecs_with_the_same_numbers_share_their_distortion() -> None:
    registry = make_registry([Signs()])
    assert registry.distortion("raw+zstd") == "raw"
    assert registry.distortion("float16+zstd") == "float16"
    assert registry.distortion("sparse8+zstd") == registry.distortion("uint8") == "uint8"
    assert registry.distortion("uint4") == "uint4"
    assert registry.distortion("signs+zstd") == "signs"
    with pytest.raises(CodecError, match="no codec is called 'x'"):
        registry.distortion("x")


@pytest.mark.parametrize("name", ["signs", "signs+zstd"])
def test_a_users_codec_goes_over_the_wire(name: str) -> None:
    registry = make_registry([Signs()])
    tensor = np.array([[1.5, -2.0, 3.0]], np.float32)
    payload = encode_tensor(tensor, registry[name]).payload()
    decoded = decode_tensor(name, "float32", (1, 3), payload, registry)
    assert decoded.tolist() == [[1, -1, 1]]
    with pytest.raises(CodecError, match=r"signs|declares"):
        decode_tensor(name, "float32", (1, 3000), payload, registry)


def test_entry_points_add_codecs_and_a_broken_one_harms_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        EntryPoint, "load", lambda self: {"Signs": Signs, "Impostor": Impostor, "no": not_a_codec}[self.attr]
    )
    points = [entry("signs", "Signs"), entry("impostor", "Impostor"), entry("no", "no"), entry("gone", "Gone")]
    registry = load_registry(points)
    assert set(registry) == set(make_registry([Signs()]))
    assert [record.getMessage().split()[2] for record in caplog.records] == ["impostor", "no", "gone"]


def test_names_must_be_unique_and_fit_the_wire() -> None:
    with pytest.raises(ValueError, match="two codecs"):
        CodecRegistry([Signs(), Signs()])
    for name in ("", "Signs", "a b", "x" * 41, "a+b+c+d", "signs\n"):
        codec = Signs()
        codec.name = name
        with pytest.raises(ValueError, match="cannot name a codec"):
            CodecRegistry([codec])


def test_the_codec_of_the_documentation_goes_over_the_wire() -> None:
    page = (Path(__file__).parents[3] / "docs" / "codecs.md").read_text()
    example = re.search(r"## Adding a codec.*?```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    namespace: dict[str, Any] = {}
    exec(example[1], namespace)
    (codec,) = (value() for value in namespace.values() if getattr(value, "name", "") == "signs")
    registry = make_registry([codec])
    tensor = np.array([[1.5, -2.0, 3.0]], np.float32)
    for name in ("signs", "signs+zstd"):
        payload = encode_tensor(tensor, registry[name]).payload()
        assert decode_tensor(name, "float32", (1, 3), payload, registry).tolist() == [[1, -1, 1]]
