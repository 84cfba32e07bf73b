"""Frames of probes, and frames that are none."""

import pytest

from shared.bus.frame import encode_frame, frame_size_bytes
from shared.direct.direct_probe import ProbeFrames, read_probe


def joined(pieces: list[bytes | bytearray | memoryview]) -> memoryview:
    return memoryview(b"".join(pieces))


@pytest.mark.parametrize("padding_bytes", [0, 1, 64 * 1024, 1_000_000])
def test_a_probe_has_its_id_and_its_padding(padding_bytes: int) -> None:
    frames = ProbeFrames()
    probe_id, pieces = frames.make(padding_bytes)
    assert frame_size_bytes(pieces) == 24 + padding_bytes
    assert read_probe(joined(pieces)) == probe_id
    assert frames.make(padding_bytes)[0] != probe_id


def test_other_frames_are_no_probes() -> None:
    assert read_probe(joined(encode_frame({"stream": "SGDPROBE"}, [b"tensor"]))) is None
    assert read_probe(memoryview(b"")) is None
    assert read_probe(memoryview(b"SGDPROBE and no id")) is None
