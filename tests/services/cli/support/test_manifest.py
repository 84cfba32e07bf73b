"""Manifests, labels and preprocessings."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from services.cli.support.manifest import (
    PREPARE_BLOCK,
    Preset,
    _blocks,
    build_manifest,
    fit_preprocessing,
    parse_preprocessing,
    read_model,
    read_preprocessing,
)
from shared.exit_status import InputError
from shared.messages.models import Manifest, ManifestBlock, ManifestRows, OutputKind, Preprocessing, TensorDescription
from shared.model.adaptation import Adaptation
from shared.model.errors import ModelError
from shared.model.onnx_file import load_model
from tests.support.shared_paths import DEMO_DATA

DATA = DEMO_DATA
SQUEEZENET = DATA / "squeezenet1.1.onnx"
PHOTO = TensorDescription(name="x", shape=(1, 3, 10, 20), dtype="float32")


def test_a_manifest_says_what_the_fleet_needs_to_know() -> None:
    manifest = build_manifest(SQUEEZENET, labels=DATA / "imagenet_labels.json")
    assert (manifest.name, manifest.size_bytes) == ("squeezenet1.1", SQUEEZENET.stat().st_size)
    assert manifest.blocks[0].name == PREPARE_BLOCK
    assert manifest.blocks[0].output_bytes == 3 * 227 * 227 * 4
    assert manifest.blocks[-1].output_bytes == 4000
    assert manifest.blocks[1].rows == ManifestRows(output_rows=113, kernel=3, stride=2)
    assert manifest.blocks[-1].rows is None
    assert len(manifest.labels) == 1000
    assert manifest.output_kind is OutputKind.CLASSIFICATION
    steps = manifest.preprocessing
    assert (steps.kind, steps.height, steps.width, steps.layout) == ("image", 227, 227, "NCHW")


def test_stages_of_tiles_end_where_one_image_crosses() -> None:
    manifest = build_manifest(SQUEEZENET)
    # Behind the global pooling an image has one row, and the output is no image.
    assert [block.image_crosses for block in manifest.blocks] == [True] * 22 + [False] * 2
    assert manifest.version() == manifest.model_copy(update={"blocks": without_images(manifest)}).version()
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Sigmoid", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "pair", [value("x", 1, [1, 3, 8, 8])], [value(n, 1, [1, 3, 8, 8]) for n in "yz"])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert [block.image_crosses for block in _blocks(load_model(model.SerializeToString()).analysis)][-1] is False


def without_images(manifest: Manifest) -> tuple[ManifestBlock, ...]:
    """Return the blocks as an earlier version describes them."""
    return tuple(block.model_copy(update={"image_crosses": False}) for block in manifest.blocks)


def test_without_labels_the_output_is_a_tensor() -> None:
    assert build_manifest(SQUEEZENET).output_kind is OutputKind.TENSOR


def test_a_model_that_no_manifest_can_hold_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "escape.onnx"
    shape = onnx.helper.make_tensor_value_info
    ends = (shape(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "\x1b]0;owned\x07y"))
    x, y = ends
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], [y.name])], "g", [x], [y])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), file)
    with pytest.raises(ModelError, match=r"a fleet cannot describe the model: name: .*control characters") as caught:
        build_manifest(file)
    assert str(caught.value).isprintable()


def test_the_operators_that_a_model_needs_are_named() -> None:
    manifest = build_manifest(SQUEEZENET)
    assert [(each.domain, each.version) for each in manifest.opsets] == [("", 17)]
    assert {block.domains for block in manifest.blocks} == {()}


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\n\ndog\n")
    with pytest.raises(InputError, match=r"2 labels, but output 'prob' is \[1, 1000\]"):
        build_manifest(SQUEEZENET, labels=labels)


def test_labels_in_the_metadata_of_the_file_are_used_if_they_fit(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    for count, fits in ((1000, True), (80, False)):
        model = onnx.load(SQUEEZENET)
        entry = model.metadata_props.add()
        entry.key, entry.value = "names", str({index: f"class {index}" for index in range(count)})
        onnx.save(model, file)
        notes: list[str] = []
        manifest = build_manifest(file, on_note=notes.append)
        assert (manifest.output_kind is OutputKind.CLASSIFICATION) == fits
        assert manifest.labels[5:6] == (("class 5",) if fits else ())
        assert notes == (
            [] if fits else ["the file's metadata 'names' has 80 class names, not 1000: they are not used"]
        )


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX file"):
        build_manifest(file)


def test_weights_in_other_files_belong_to_the_model_and_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    onnx.save(onnx.load(SQUEEZENET), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert build_manifest(file).blocks == build_manifest(SQUEEZENET).blocks
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"m\.onnx.*weights\.bin"):
        build_manifest(file)


def test_open_shapes_can_be_given(tmp_path: Path) -> None:
    model, file = onnx.load(SQUEEZENET), tmp_path / "m.onnx"
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, file)
    with pytest.raises(ModelError, match="dynamic dimensions"):
        build_manifest(file)
    name = model.graph.input[0].name
    for sizes in (Adaptation({name: (1, 3, 227, 227)}), Adaptation(dimensions={"height": 227, "width": 227})):
        assert build_manifest(file, model=read_model(file, sizes)).preprocessing.height == 227


def test_images_are_expected_where_the_input_looks_like_one() -> None:
    assert fit_preprocessing(None, [PHOTO]).kind == "image"
    last = TensorDescription(name="x", shape=(1, 10, 20, 3), dtype="float32")
    assert fit_preprocessing(Preset.UNIT, [last]).layout == "NHWC"
    assert fit_preprocessing(None, [TensorDescription(name="x", shape=(1, 128), dtype="float32")]).kind == "tensor"
    assert fit_preprocessing(None, [PHOTO, PHOTO]).kind == "tensor"
    assert fit_preprocessing(Preset.TENSOR, [PHOTO]).kind == "tensor"


@pytest.mark.parametrize("shape", [(1, 3, 10, 20), (1, 10, 20, 3)])
def test_integer_images_are_not_normalised(shape: tuple[int, ...]) -> None:
    def spec(dtype: str) -> TensorDescription:
        return TensorDescription(name="x", shape=shape, dtype=dtype)

    for dtype in ("uint8", "uint16", "int32"):
        steps = fit_preprocessing(None, [spec(dtype)])
        assert (steps.kind, steps.mean, steps.scale) == ("image", (0.0,) * 3, (1.0,) * 3)
    assert fit_preprocessing(None, [spec("int8")]).kind == "tensor"
    assert fit_preprocessing(None, [spec("float16")]).mean == fit_preprocessing(Preset.IMAGENET, [PHOTO]).mean


@pytest.mark.parametrize("preset", [Preset.IMAGENET, Preset.UNIT])
def test_numbers_that_the_input_does_not_hold_are_refused(preset: Preset) -> None:
    spec = TensorDescription(name="x", shape=(1, 3, 10, 20), dtype="uint8")
    with pytest.raises(InputError, match=r"the preprocessing makes numbers from .* is uint8"):
        fit_preprocessing(preset, [spec])


@pytest.mark.parametrize("field", ["mean", "scale"])
def test_a_number_per_channel_is_needed(field: str) -> None:
    for values in ([1.0], [104.0, 117.0, 123.0, 0.0]):
        with pytest.raises(ValueError, match=field):
            parse_preprocessing({field: values})


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="scale is 0 for a channel"):
        parse_preprocessing({"scale": [1.0, 0.0, 1.0]})


def test_photographs_for_a_model_without_them_are_refused() -> None:
    with pytest.raises(InputError, match="does not take one image"):
        fit_preprocessing(Preset.IMAGENET, [TensorDescription(name="x", shape=(1, 128), dtype="float32")])


def test_a_size_that_is_not_the_models_is_refused() -> None:
    with pytest.raises(InputError, match="makes 11 x 20 pixels, the model takes 10 x 20"):
        fit_preprocessing(Preprocessing(kind="image", height=11), [PHOTO])


@pytest.mark.parametrize(
    ("name", "text"), [("p.json", json.dumps({"mean": [1, 2, 3]})), ("p.toml", "mean = [1, 2, 3]")]
)
def test_preprocessing_is_read_from_json_and_toml(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_preprocessing(str(tmp_path / name)) == Preprocessing(kind="image", mean=(1.0, 2.0, 3.0))


@pytest.mark.parametrize("text", ['{"maen": [1]}', '{"mean": "x"}', "[]", "{"])
def test_preprocessing_with_faults_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError):
        read_preprocessing(str(tmp_path / "p.json"))


def test_presets_go_by_name() -> None:
    assert read_preprocessing("unit") is Preset.UNIT
    with pytest.raises(InputError, match="neither a file nor one of imagenet, unit, raw, tensor"):
        read_preprocessing("imagnet")
