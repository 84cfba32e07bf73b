"""Stored calibrations: measured once, and again when something on which they depend changes."""

from pathlib import Path

import pytest
from PIL import Image

from services.cli.calibration.calibration_cache import cached_calibration, calibration_key, calibrations_folder
from services.cli.support.manifest import Preset, build_manifest
from shared.exit_status import InputError
from shared.messages.calibration import Calibration


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.radial_gradient("L").save(folder / "disc.png")
    return folder


def test_a_calibration_is_measured_once_for_a_set_and_again_for_another(
    model_file: Path, images: Path, tmp_path: Path
) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    stored = tmp_path / "stored"
    progress: list[int] = []

    def calibration() -> Calibration:
        return cached_calibration(
            model_file, manifest, images, stored, on_sample=lambda done, count: progress.append(done)
        )

    first = calibration()
    assert first.model == manifest.model
    assert progress == list(range(1, len(progress) + 1))
    measured = len(progress)
    assert calibration() == first
    assert len(progress) == measured
    (file,) = stored.iterdir()
    file.write_bytes(b"{")
    assert calibration().model == first.model
    assert len(progress) == 2 * measured
    Image.linear_gradient("L").save(images / "lines.png")
    assert calibration().photographs == 2


def test_what_a_calibration_depends_on_is_in_its_key(model_file: Path, images: Path, tmp_path: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    other = build_manifest(model_file, preprocessing=Preset.RAW)
    keys = {calibration_key(manifest, images), calibration_key(other, images)}
    Image.linear_gradient("L").save(images / "lines.png")
    assert len(keys | {calibration_key(manifest, images)}) == 3
    with pytest.raises(InputError, match="No such file"):
        calibration_key(manifest, tmp_path / "nothing")


def test_a_folder_that_cannot_be_written_costs_the_memory_only(model_file: Path, images: Path, tmp_path: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert cached_calibration(model_file, manifest, images, blocked).samples == 6


def test_calibrations_are_stored_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert calibrations_folder() == tmp_path / "segue" / "calibrations"
