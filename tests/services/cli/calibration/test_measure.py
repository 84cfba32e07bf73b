"""Calibration of a small model: every cut, every codec, and numbers that hold together."""

from pathlib import Path

import pytest

from services.cli.calibration import MeasureSettings, measure, read_samples
from services.cli.support.manifest import Preset, build_manifest
from services.executor.segments.coding import Coder
from shared.codecs import make_registry
from shared.messages.calibration import Calibration
from shared.model.onnx_file import load_model

REGISTRY = make_registry()


@pytest.fixture(scope="module")
def calibration(model_file: Path, photographs: Path) -> Calibration:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    samples = read_samples(photographs, manifest, variants=3)
    how = MeasureSettings(timed_samples=1, repetitions=1)
    return measure(load_model(model_file), samples, Coder(REGISTRY, how.engine), how)


def test_every_block_but_the_last_has_every_codec(calibration: Calibration, model_file: Path) -> None:
    count = len(load_model(model_file).analysis.blocks)
    assert [block.block for block in calibration.blocks] == list(range(count))
    assert all({codec.codec for codec in block.codecs} == set(REGISTRY) for block in calibration.blocks)
    assert calibration.samples == 6
    assert calibration.photographs == 2
    assert [size.encoding for size in calibration.input_sizes] == ["jpeg75", "jpeg95", "png"]


def test_sizes_and_errors_hold_together(calibration: Calibration) -> None:
    for block in calibration.blocks:
        found = {codec.codec: codec for codec in block.codecs}
        assert found["raw"].size_bytes == block.raw_bytes
        assert all(codec.size_bytes <= codec.worst_size_bytes for codec in block.codecs)
        assert found["raw"].max_abs_error == found["raw+zstd"].max_abs_error == 0
        assert found["uint8"].max_abs_error == found["sparse8+zstd"].max_abs_error
        assert found["float16"].max_relative_error <= found["uint4"].max_relative_error
        assert found["float16"].size_bytes < found["raw"].size_bytes


def test_the_message_survives_the_bus(calibration: Calibration) -> None:
    assert Calibration.decode(calibration.encode()) == calibration


def test_only_useful_blocks_are_the_smallest_of_some_codec_so_far(
    model_file: Path, photographs: Path, calibration: Calibration
) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    samples = read_samples(photographs, manifest, variants=3)
    how = MeasureSettings(timed_samples=len(samples.inputs), repetitions=1, only_useful=True)
    found = measure(load_model(model_file), samples, Coder(REGISTRY, how.engine), how)
    least: dict[str, int] = {}
    expected = []
    for block in calibration.blocks:
        if any(codec.size_bytes < least.get(codec.codec, 1 << 62) for codec in block.codecs):
            expected.append(block.block)
        least |= {codec.codec: min(codec.size_bytes, least.get(codec.codec, 1 << 62)) for codec in block.codecs}
    assert [block.block for block in found.blocks] == expected
    assert 0 < len(expected) < len(calibration.blocks)
    by_block = {block.block: block for block in calibration.blocks}
    for block in found.blocks:
        sizes = {codec.codec: (codec.size_bytes, codec.top1_agreement) for codec in block.codecs}
        whole = by_block[block.block].codecs
        assert sizes == {codec.codec: (codec.size_bytes, codec.top1_agreement) for codec in whole}
