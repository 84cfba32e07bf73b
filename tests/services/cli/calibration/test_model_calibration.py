"""The calibration of a model with the encodings that are asked for."""

import platform
from pathlib import Path

import pytest

from services.cli.calibration import calibrate_model
from services.cli.support.manifest import Preset, build_manifest
from shared.exit_status import InputError


def test_chosen_encodings_are_measured_beside_raw(model_file: Path, photographs: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    progress: list[tuple[int, int]] = []
    found = calibrate_model(
        model_file,
        manifest,
        photographs,
        codecs=["uint8"],
        variants=1,
        only_useful=True,
        on_sample=lambda done, count: progress.append((done, count)),
    )
    assert {codec.codec for block in found.blocks for codec in block.codecs} == {"raw", "uint8"}
    assert (found.samples, found.device) == (2, platform.node())
    assert progress[-1][0] == progress[-1][1] == len(progress)


def test_an_unknown_encoding_is_refused_with_the_known_ones(model_file: Path, photographs: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    with pytest.raises(InputError, match=r"no codec is called 'zip'; there are raw, "):
        calibrate_model(model_file, manifest, photographs, codecs=["zip"], variants=1)
