"""The built-in codecs combine a representation and a packing."""

import numpy as np
import pytest

from shared.codecs import Codec, StagedCodec, TensorSpec
from shared.codecs.staged import ZSTD_SUFFIX, ZstdCodec, builtin_codecs
from shared.codecs.zstd import Zstd

TENSOR = np.random.default_rng(5).normal(size=(1, 4, 6, 6)).astype(np.float32)
SPEC = TensorSpec.of(TENSOR)


@pytest.mark.parametrize("codec", builtin_codecs(), ids=lambda codec: codec.name)
def test_the_stages_together_are_the_codec(codec: Codec) -> None:
    assert isinstance(codec, StagedCodec)
    parts = codec.representation.represent(TENSOR)
    body = b"".join(codec.pack(parts, SPEC))
    assert body == b"".join(codec.encode(TENSOR))
    restored = codec.representation.restore(codec.unpack(memoryview(body), SPEC), SPEC)
    assert restored.tobytes() == codec.decode(memoryview(body), SPEC).tobytes()


def test_a_packing_inside_zstd_restores_what_the_packing_alone_does() -> None:
    by_name = {codec.name: codec for codec in builtin_codecs()}
    for name in [name for name in by_name if not name.endswith(ZSTD_SUFFIX)]:
        plain, compressed = by_name[name], ZstdCodec(by_name[name], Zstd())
        body = b"".join(compressed.encode(TENSOR))
        assert body == b"".join(by_name[compressed.name].encode(TENSOR))
        raw = memoryview(b"".join(plain.encode(TENSOR)))
        assert compressed.decode(memoryview(body), SPEC).tobytes() == plain.decode(raw, SPEC).tobytes()
