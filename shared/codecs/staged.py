"""The built-in codecs, each a representation of the values and a packing of its parts."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.codecs.codec import Codec
from shared.codecs.packing import Bytewise, Dense, Nibbles, Packing, Sparse
from shared.codecs.representation import HalfPrecision, Identity, Quantised, Representation
from shared.codecs.spec import Array, Buffer, TensorSpec
from shared.codecs.zstd import Zstd

ZSTD_SUFFIX: Final = "+zstd"


class StagedCodec:
    """A codec in two stages. An ONNX graph may replace the first one; `pack` and `unpack` are the second."""

    def __init__(self, name: str, representation: Representation, packing: Packing) -> None:
        """Combine two stages under a name."""
        self.name = name
        self.representation = representation
        self.packing = packing

    @property
    def lossless(self) -> bool:
        """True if decoding restores exactly the same tensor, as the representation determines."""
        return self.representation.lossless

    def supports(self, spec: TensorSpec) -> bool:
        """Return whether the representation supports such tensors."""
        return self.representation.supports(spec)

    def encode(self, tensor: Array) -> list[Buffer]:
        """Represent, then pack.

        Raises:
            CodecError: the tensor has values that cannot be represented.
        """
        return self.pack(self.representation.represent(tensor), TensorSpec.of(tensor))

    def pack(self, parts: tuple[Array, ...], spec: TensorSpec) -> list[Buffer]:
        """Return the pieces of the body of a represented tensor."""
        return self.packing.pack(parts, spec)

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return the least and the largest size of a body, in bytes."""
        return self.packing.size_bounds(spec)

    def unpack(self, body: memoryview, spec: TensorSpec) -> tuple[Array, ...]:
        """Return the parts of the represented tensor, after checking them.

        Raises:
            CodecError: `pack` cannot have made this body.
        """
        return self.packing.unpack(body, spec)

    def decode(self, body: memoryview, spec: TensorSpec) -> Array:
        """Unpack, then restore.

        Raises:
            CodecError: `encode` cannot have made this body.
        """
        return self.representation.restore(self.unpack(body, spec), spec)


class ZstdPacking:
    """A packing followed by zstd."""

    def __init__(self, inner: Packing, zstd: Zstd) -> None:
        """Compress the bodies of `inner`."""
        self._inner = inner
        self._zstd = zstd

    def pack(self, parts: Sequence[Array], spec: TensorSpec) -> list[Buffer]:
        """Return one zstd frame."""
        return [self._zstd.compress(self._inner.pack(parts, spec))]

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return the bounds of a frame around the inner body, in bytes."""
        return self._zstd.size_bounds(self._inner.size_bounds(spec))

    def unpack(self, body: memoryview, spec: TensorSpec) -> tuple[Array, ...]:
        """Decompress, then unpack.

        Raises:
            CodecError: the body is not exactly one zstd frame with an inner body.
        """
        return self._inner.unpack(self._zstd.decompress(body, self._inner.size_bounds(spec)), spec)


class ZstdCodec:
    """A codec followed by zstd."""

    def __init__(self, inner: Codec, zstd: Zstd) -> None:
        """Compress the bodies of `inner`."""
        self._inner = inner
        self._zstd = zstd
        self.name = inner.name + ZSTD_SUFFIX

    @property
    def lossless(self) -> bool:
        """True if the inner codec is lossless."""
        return self._inner.lossless

    def supports(self, spec: TensorSpec) -> bool:
        """Return whether the inner codec supports such tensors."""
        return self._inner.supports(spec)

    def encode(self, tensor: Array) -> list[Buffer]:
        """Encode, then compress.

        Raises:
            CodecError: the inner codec cannot represent the tensor.
        """
        return [self._zstd.compress(self._inner.encode(tensor))]

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return the bounds of a frame around the inner body, in bytes."""
        return self._zstd.size_bounds(self._inner.size_bounds(spec))

    def decode(self, body: memoryview, spec: TensorSpec) -> Array:
        """Decompress, then decode.

        Raises:
            CodecError: the body is not exactly one zstd frame with an inner body.
        """
        return self._inner.decode(self._zstd.decompress(body, self._inner.size_bounds(spec)), spec)


def builtin_codecs() -> tuple[Codec, ...]:
    """Return the codecs that every device has; a built-in codec is registered by a line here."""
    zstd = Zstd()
    plain: tuple[tuple[str, Representation, Packing], ...] = (
        ("raw", Identity(), Dense()),
        ("float16", HalfPrecision(), Dense(np.dtype(np.float16))),
        ("uint8", Quantised(8), Bytewise()),
        ("sparse8", Quantised(8), Sparse()),
        ("uint4", Quantised(4), Nibbles()),
    )
    return tuple(
        codec
        for name, representation, packing in plain
        for codec in (
            StagedCodec(name, representation, packing),
            StagedCodec(f"{name}{ZSTD_SUFFIX}", representation, ZstdPacking(packing, zstd)),
        )
    )
