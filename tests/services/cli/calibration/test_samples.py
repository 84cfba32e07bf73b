"""Calibration sets of photographs and of tensors."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from services.cli.calibration import calibration_images, read_samples
from services.cli.calibration.samples import SHIPPED_IMAGES
from services.cli.support.manifest import Preset, build_manifest
from shared.exit_status import InputError
from tests.support.shared_paths import REPOSITORY


def test_few_photographs_make_a_hundred_inputs_and_many_make_one_each(model_file: Path, photographs: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    assert len(read_samples(photographs, manifest).inputs) == 12
    shipped = read_samples(SHIPPED_IMAGES, manifest)
    assert shipped.photographs >= 30
    assert 100 <= len(shipped.inputs) < 100 + shipped.photographs


def test_every_photograph_that_ships_is_in_the_notice() -> None:
    notice = (REPOSITORY / "NOTICE").read_text()
    assert [file.name for file in SHIPPED_IMAGES.glob("*.jpg") if f"{file.name}:" not in notice] == []


def test_a_folder_without_inputs_is_refused(model_file: Path, tmp_path: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    with pytest.raises(InputError, match=r"takes photographs, .* give another folder"):
        read_samples(tmp_path, manifest)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        read_samples(tmp_path, manifest)


def test_a_broken_photograph_is_left_out_and_named(model_file: Path, tmp_path: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    shutil.copy(next(iter(sorted(SHIPPED_IMAGES.glob("*.jpg")))), tmp_path / "whole.jpg")
    (tmp_path / "broken.webp").write_bytes(b"RIFF....WEBP")
    samples = read_samples(tmp_path, manifest, variants=1)
    assert (len(samples.inputs), samples.photographs) == (1, 1)
    assert len(samples.skipped) == 1
    assert "broken.webp: the image does not decode" in samples.skipped[0]


def test_tensors_calibrate_a_model_without_photographs(model_file: Path, tmp_path: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.TENSOR)
    np.save(tmp_path / "a.npy", np.ones(manifest.inputs[0].shape, np.float32))
    samples = read_samples(tmp_path, manifest)
    assert len(samples.inputs) == samples.photographs == 1
    assert samples.input_sizes == ()


def test_what_is_no_folder_is_not_said_to_be_empty(model_file: Path, tmp_path: Path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    (tmp_path / "one.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"nowhere: No such file or directory"):
        read_samples(tmp_path / "nowhere", manifest)
    with pytest.raises(InputError, match=r"one\.jpg: Not a directory"):
        read_samples(tmp_path / "one.jpg", manifest)


def test_a_set_ships_for_photographs_but_not_for_tensors(model_file: Path, tmp_path: Path) -> None:
    photographs = build_manifest(model_file, preprocessing=Preset.UNIT)
    tensors = build_manifest(model_file, preprocessing=Preset.TENSOR)
    assert calibration_images(photographs, None, "give one") == SHIPPED_IMAGES
    assert calibration_images(photographs, tmp_path, "give one") == tmp_path
    assert calibration_images(tensors, tmp_path, "give one") == tmp_path
    with pytest.raises(InputError, match=r"the model takes tensors: give one with \.npy files"):
        calibration_images(tensors, None, "give one")
