"""The calibration of a fleet's model before its start."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from services.cli.support.manifest import Preset
from services.cli.testbed.fleet_calibration import calibrate_workload
from services.cli.testbed.fleet_description import DeviceDescription, Fleet, ModelDescription, StreamSetup
from services.cli.testbed.workload import Workload, read_workload
from shared.exit_status import InputError
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx

FLEET = Fleet(
    model=ModelDescription("tiny.onnx", preprocessing=Preset.TENSOR),
    stream=StreamSetup("pi", ("*.npy",)),
    devices={"pi": DeviceDescription()},
)


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    write_onnx(build("tiny"), tmp_path / "tiny.onnx")
    np.save(tmp_path / "a.npy", np.ones((1, 3, 32, 32), np.float32))
    return read_workload(FLEET, tmp_path, tmp_path)


async def test_progress_is_reported_in_tenths_and_a_stored_calibration_without(
    workload: Workload, tmp_path: Path
) -> None:
    lines: list[str] = []
    measured = await calibrate_workload(workload, tmp_path, tmp_path / "stored", lines.append)
    await asyncio.sleep(0)
    assert lines[-1] == "measuring encodings of feature maps: 100 %"
    assert len(lines) == len(set(lines)) <= 11
    lines.clear()
    assert await calibrate_workload(workload, tmp_path, tmp_path / "stored", lines.append) == measured
    assert lines == []


async def test_a_model_of_tensors_needs_a_folder(workload: Workload, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the model takes tensors: model\.calibration_images: name a folder"):
        await calibrate_workload(workload, None, tmp_path / "stored", print)
