import pytest
from PIL import Image

from services.cli.calibration.calibration_cache import cached_calibration, calibration_key
from services.cli.support.manifest import Preset, build_manifest
from shared.model.architectures.catalogue import build
from shared.model.onnx_file import write_onnx
from shared.service_runtime import InputError


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.radial_gradient("L").save(folder / "disc.png")
    return folder


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_onnx(build("tiny", 3), file)
    return file


def test_a_calibration_is_measured_once_for_a_set_and_again_for_another(model_file, images, tmp_path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    kept, told = tmp_path / "kept", []

    def calibration():
        return cached_calibration(model_file, manifest, images, kept, on_sample=lambda done, count: told.append(done))

    first = calibration()
    assert first.model == manifest.model
    assert told == list(range(1, len(told) + 1))
    measured = len(told)
    assert calibration() == first
    assert len(told) == measured
    (file,) = kept.iterdir()
    file.write_bytes(b"{")
    assert calibration().model == first.model
    assert len(told) == 2 * measured
    Image.linear_gradient("L").save(images / "lines.png")
    assert calibration().photographs == 2


def test_what_a_calibration_depends_on_is_in_its_key(model_file, images, tmp_path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    other = build_manifest(model_file, preprocessing=Preset.RAW)
    keys = {calibration_key(manifest, images), calibration_key(other, images)}
    Image.linear_gradient("L").save(images / "lines.png")
    assert len(keys | {calibration_key(manifest, images)}) == 3
    with pytest.raises(InputError, match="No such file"):
        calibration_key(manifest, tmp_path / "nothing")


def test_a_folder_that_cannot_be_written_costs_the_memory_only(model_file, images, tmp_path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert cached_calibration(model_file, manifest, images, blocked).samples == 6
