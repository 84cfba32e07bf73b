"""The workload of a fleet: model, payloads and reference outputs."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from services.cli.support.manifest import Preset
from services.cli.testbed.fleet_description import DeviceDescription, Fleet, ModelDescription, StreamSetup
from services.cli.testbed.workload import read_workload
from shared.exit_status import InputError
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx

FLEET = Fleet(
    model=ModelDescription("tiny.onnx", preprocessing=Preset.TENSOR),
    stream=StreamSetup("pi", ("*.npy",)),
    devices={"pi": DeviceDescription()},
)


def test_every_payload_has_its_reference_outputs(tmp_path: Path) -> None:
    write_onnx(build("tiny"), tmp_path / "tiny.onnx")
    for name, value in (("a.npy", 0.0), ("b.npy", 1.0)):
        np.save(tmp_path / name, np.full((1, 3, 32, 32), value, np.float32))
    workload = read_workload(FLEET, tmp_path, tmp_path)
    assert (workload.manifest.name, workload.model_file) == ("tiny", tmp_path / "tiny.onnx")
    first, second = (workload.reference.outputs(payload)["fc"] for payload in workload.payloads)
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_a_model_of_two_files_is_packed_for_the_fleet(tmp_path: Path) -> None:
    write_onnx(build("tiny"), tmp_path / "one.onnx")
    whole = onnx.load_model(tmp_path / "one.onnx")
    onnx.save_model(whole, tmp_path / "tiny.onnx", save_as_external_data=True, location="tiny.data", size_threshold=0)
    np.save(tmp_path / "a.npy", np.ones((1, 3, 32, 32), np.float32))
    scratch = tmp_path / "run"
    scratch.mkdir()
    workload = read_workload(FLEET, tmp_path, scratch)
    assert workload.model_file == scratch / "tiny.onnx"
    assert workload.manifest.size_bytes == workload.model_file.stat().st_size
    assert workload.manifest.model == hashlib.sha256(workload.model_file.read_bytes()).hexdigest()
    assert workload.published.file == scratch / "tiny.packed"
    assert workload.published.manifest.model == workload.manifest.model


def test_an_image_that_is_no_input_of_the_model_is_named(tmp_path: Path) -> None:
    write_onnx(build("tiny"), tmp_path / "tiny.onnx")
    (tmp_path / "broken.npy").write_bytes(b"no tensor")
    with pytest.raises(InputError, match=r"broken\.npy: "):
        read_workload(FLEET, tmp_path, tmp_path)
    np.save(tmp_path / "whole.npy", np.zeros((1, 3, 32, 32), np.float32))
    np.save(tmp_path / "odd.npy", np.full((1, 3, 32, 32), np.nan, np.float32))
    workload = read_workload(FLEET, tmp_path, tmp_path)
    assert len(workload.payloads) == 2
    assert [note.split("/")[-1][:20] for note in workload.notes] == ["odd.npy: output 'fc'", "broken.npy: 9 bytes "]
    assert workload.notes[1].startswith("left out: ")
