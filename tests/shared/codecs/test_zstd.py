"""Frames are strict: their declared size is checked before memory is allocated."""

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shared.codecs import CodecError
from shared.codecs.zstd import Zstd

CONTENT = b"segue" * 20


@given(st.lists(st.binary(max_size=2000), max_size=4))
def test_frames_stay_within_their_bounds_and_restore_their_content(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    bounds = (len(content), len(content))
    frame = Zstd().compress(pieces)
    least, largest = Zstd().size_bounds(bounds)
    assert least <= len(frame) <= largest
    assert bytes(Zstd().decompress(memoryview(frame), bounds)) == content


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"no frame", "no zstd frame"),
        (Zstd().compress([CONTENT]) + b"x", "no zstd frame"),
        (Zstd().compress([CONTENT])[:-4], "no zstd frame"),
        (Zstd().compress([CONTENT * 2]), "declares 200 bytes; 100 to 100 fit"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(CONTENT), "declares"),
    ],
)
def test_frames_that_do_not_fit_are_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        Zstd().decompress(memoryview(frame), (len(CONTENT), len(CONTENT)))
