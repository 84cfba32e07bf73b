"""`segue model calibrate` as a function."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from shared.exit_status import InputError
from shared.messages.calibration import Calibration
from shared.model.architectures.catalogue import build
from shared.model.onnx_file import write_onnx
from tests.support.segue_command import invoke_command

COMMAND = "calibrate_commands:calibrate_command"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.onnx"
    write_onnx(build("tiny", 3), file)
    return file


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, gradient in (("one.png", Image.radial_gradient("L")), ("two.jpg", Image.linear_gradient("L"))):
        gradient.convert("RGB").save(folder / name)
    return folder


def test_it_prints_json_and_writes_the_file(model_file: Path, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    arguments = [str(model_file), "--images", str(photographs), "--preprocess", "unit", "--variants", "1"]
    chosen = ["--codec", "uint8+zstd", "--codec", "float16", "--out", str(out)]
    result = invoke_command(COMMAND, *arguments, *chosen, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [codec["codec"] for codec in document["blocks"][0]["codecs"]] == ["raw", "float16", "uint8+zstd"]
    assert Calibration.decode(out.read_bytes()).model == document["model"]
    table = invoke_command(COMMAND, *arguments, "--codec", "uint8")
    assert "uint8" in table.stdout
    assert "2 inputs made of 2 files" in " ".join(table.stdout.split())
    refused = invoke_command(COMMAND, *arguments, "--codec", "zip")
    assert isinstance(refused.exception, InputError)


def test_a_model_with_several_inputs_is_calibrated_with_npz_files(tmp_path: Path) -> None:
    left = onnx.helper.make_tensor_value_info("left", onnx.TensorProto.FLOAT, [1, 8])
    right = onnx.helper.make_tensor_value_info("right", onnx.TensorProto.FLOAT, [1, 8])
    answer = onnx.helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, [1, 8])
    nodes = [
        onnx.helper.make_node("Add", ["left", "right"], ["sum"]),
        onnx.helper.make_node("Relu", ["sum"], ["answer"]),
    ]
    graph = onnx.helper.make_graph(nodes, "two", [left, right], [answer])
    opsets = [onnx.helper.make_opsetid("", 17)]
    file = tmp_path / "two.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), file)
    none_given = invoke_command(COMMAND, str(file))
    assert isinstance(none_given.exception, InputError)
    assert ".npz" in str(none_given.exception)
    np.savez(tmp_path / "a.npz", left=np.ones((1, 8), np.float32), right=np.full((1, 8), 2, np.float32))
    result = invoke_command(COMMAND, str(file), "--images", str(tmp_path), "--json")
    assert json.loads(result.stdout)["samples"] == 1
