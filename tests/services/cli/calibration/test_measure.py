"""Calibration of a small model: every cut, every codec, and numbers that hold together."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from services.cli.calibration import MeasureSettings, measure, read_samples
from services.cli.calibration.samples import SHIPPED_IMAGES
from services.cli.commands.calibrate_commands import calibrate_command
from services.cli.support.lazy_groups import Entry, lazy_app
from services.cli.support.manifest import Preset, build_manifest
from services.executor.segments.coding import Coder
from shared.codecs import make_registry
from shared.messages.calibration import Calibration
from shared.model.architectures.catalogue import build
from shared.model.onnx_file import load_model, write_onnx
from shared.service_runtime import InputError
from tests.support.shared_paths import REPOSITORY

REGISTRY = make_registry()


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_onnx(build("tiny", 3), file)
    return file


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(5)
    for name in ("one.png", "two.jpg"):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def calibration(model_file, photographs):
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    samples = read_samples(photographs, manifest, variants=3)
    how = MeasureSettings(timed_samples=1, repetitions=1)
    return measure(load_model(model_file), samples, Coder(REGISTRY, how.engine), how)


def test_every_block_but_the_last_has_every_codec(calibration, model_file) -> None:
    count = len(load_model(model_file).analysis.blocks)
    assert [block.block for block in calibration.blocks] == list(range(count))
    assert all({codec.codec for codec in block.codecs} == set(REGISTRY) for block in calibration.blocks)
    assert calibration.samples == 6
    assert calibration.photographs == 2
    assert [size.encoding for size in calibration.input_sizes] == ["jpeg75", "jpeg95", "png"]


def test_sizes_and_errors_hold_together(calibration) -> None:
    for block in calibration.blocks:
        found = {codec.codec: codec for codec in block.codecs}
        assert found["raw"].size_bytes == block.raw_bytes
        assert all(codec.size_bytes <= codec.worst_size_bytes for codec in block.codecs)
        assert found["raw"].max_abs_error == found["raw+zstd"].max_abs_error == 0
        assert found["uint8"].max_abs_error == found["sparse8+zstd"].max_abs_error
        assert found["float16"].max_relative_error <= found["uint4"].max_relative_error
        assert found["float16"].size_bytes < found["raw"].size_bytes


def test_the_message_survives_the_bus(calibration) -> None:
    assert Calibration.decode(calibration.encode()) == calibration


def test_few_photographs_make_a_hundred_inputs_and_many_make_one_each(model_file, photographs) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    assert len(read_samples(photographs, manifest).inputs) == 12
    shipped = read_samples(SHIPPED_IMAGES, manifest)
    assert shipped.photographs >= 30
    assert 100 <= len(shipped.inputs) < 100 + shipped.photographs


def test_every_photograph_that_ships_is_in_the_notice() -> None:
    notice = (REPOSITORY / "NOTICE").read_text()
    assert [file.name for file in SHIPPED_IMAGES.glob("*.jpg") if f"{file.name}:" not in notice] == []


def test_only_useful_blocks_are_the_smallest_of_some_codec_so_far(model_file, photographs, calibration) -> None:
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
    kept = {block.block: block for block in calibration.blocks}
    for block in found.blocks:
        sizes = {codec.codec: (codec.size_bytes, codec.top1_agreement) for codec in block.codecs}
        assert sizes == {codec.codec: (codec.size_bytes, codec.top1_agreement) for codec in kept[block.block].codecs}


def test_a_folder_without_inputs_is_refused(model_file, tmp_path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    with pytest.raises(InputError, match=r"takes photographs, .* give another folder"):
        read_samples(tmp_path, manifest)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        read_samples(tmp_path, manifest)


def test_tensors_calibrate_a_model_without_photographs(model_file, tmp_path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.TENSOR)
    np.save(tmp_path / "a.npy", np.ones(manifest.inputs[0].shape, np.float32))
    samples = read_samples(tmp_path, manifest)
    assert len(samples.inputs) == samples.photographs == 1
    assert samples.input_sizes == ()


def test_a_model_with_several_inputs_is_calibrated_with_npz_files(tmp_path) -> None:
    left = onnx.helper.make_tensor_value_info("left", onnx.TensorProto.FLOAT, [1, 8])
    right = onnx.helper.make_tensor_value_info("right", onnx.TensorProto.FLOAT, [1, 8])
    answer = onnx.helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, [1, 8])
    nodes = [
        onnx.helper.make_node("Add", ["left", "right"], ["sum"]),
        onnx.helper.make_node("Relu", ["sum"], ["answer"]),
    ]
    graph = onnx.helper.make_graph(nodes, "two", [left, right], [answer])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "two.onnx")
    app = lazy_app([Entry("calibrate", "services.cli.commands.calibrate_commands:calibrate_command", "")])
    arguments = ["calibrate", str(tmp_path / "two.onnx")]
    none_given = CliRunner().invoke(app, arguments)
    assert isinstance(none_given.exception, InputError)
    assert ".npz" in str(none_given.exception)
    np.savez(tmp_path / "a.npz", left=np.ones((1, 8), np.float32), right=np.full((1, 8), 2, np.float32))
    result = CliRunner().invoke(app, [*arguments, "--images", str(tmp_path), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["samples"] == 1


def test_what_is_no_folder_is_not_said_to_be_empty(model_file, tmp_path) -> None:
    manifest = build_manifest(model_file, preprocessing=Preset.UNIT)
    (tmp_path / "one.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"nowhere: No such file or directory"):
        read_samples(tmp_path / "nowhere", manifest)
    with pytest.raises(InputError, match=r"one\.jpg: Not a directory"):
        read_samples(tmp_path / "one.jpg", manifest)


def test_the_command_prints_json_and_writes_the_file(model_file, photographs, tmp_path) -> None:
    app = lazy_app([Entry("calibrate", "services.cli.commands.calibrate_commands:calibrate_command", "")])
    assert calibrate_command.__doc__
    out = tmp_path / "calibration.json"
    arguments = ["calibrate", str(model_file), "--images", str(photographs), "--preprocess", "unit", "--variants", "1"]
    chosen = ["--codec", "uint8+zstd", "--codec", "float16", "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, *chosen, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [codec["codec"] for codec in document["blocks"][0]["codecs"]] == ["raw", "float16", "uint8+zstd"]
    assert Calibration.decode(out.read_bytes()).model == document["model"]
    table = CliRunner().invoke(app, [*arguments, "--codec", "uint8"], catch_exceptions=False)
    assert "uint8" in table.stdout
    assert "2 inputs made of 2 files" in " ".join(table.stdout.split())
    refused = CliRunner().invoke(app, [*arguments, "--codec", "zip"])
    assert isinstance(refused.exception, InputError)
