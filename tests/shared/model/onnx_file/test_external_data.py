import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from shared.model.adaptation import Adaptation
from shared.model.errors import ExternalDataError, UnsupportedModelError
from shared.model.onnx_file import external_data, load_model, split
from shared.model.onnx_file.external_data import pack

VALUES = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)


def weight(name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(VALUES, name)


def save(folder: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> Path:
    """Save a model whose tensors, those of nodes included, are in `m.data` beside it."""
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "m.onnx"
    onnx.save_model(
        model, path, save_as_external_data=True, location="m.data", size_threshold=0, convert_attribute=True
    )
    return path


def chain(folder: Path) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Softmax", ["h"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["y"]),
    ]
    return save(folder, nodes, [weight("w")])


def constant(folder: Path) -> Path:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight("c")),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Softmax", ["h"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["y"]),
    ]
    return save(folder, nodes, [])


def branches(folder: Path) -> Path:
    output = helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, [1, 4])
    graphs = [
        helper.make_graph([helper.make_node("MatMul", ["h", name], ["o"])], name, [], [output], [weight(name)])
        for name in ("p", "q")
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceSum", ["h"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["c"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=graphs[0], else_branch=graphs[1]),
    ]
    return save(folder, nodes, [weight("w")])


@pytest.mark.parametrize("make", [chain, constant, branches])
def test_tensors_outside_are_read_wherever_they_are(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    parts = split(make(tmp_path), [1])
    assert parts.report.bit_exact
    assert len(parts.segments) == 2


@pytest.mark.parametrize("make", [chain, constant, branches])
def test_a_packed_model_is_the_same_model_in_one_file(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    folder = tmp_path / "packed"
    folder.mkdir()
    packed, _ = pack(path, folder)
    assert packed == folder / "m.onnx"
    assert load_model(packed.read_bytes()).analysis == load_model(path).analysis
    assert load_model(path).sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()


def test_the_identity_of_a_model_covers_weights_outside(tmp_path: Path) -> None:
    path = chain(tmp_path)
    before = load_model(path).sha256
    (tmp_path / "m.data").write_bytes(VALUES[::-1].tobytes())
    assert load_model(path).sha256 != before


def test_a_model_of_one_file_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(pack(chain(tmp_path), tmp_path)[0].read_bytes())
    assert pack(path, tmp_path / "nowhere")[0] == path


def test_what_is_no_model_is_left_to_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x00 no model")
    assert pack(path, tmp_path / "nowhere")[0] == path


def test_weights_above_the_size_of_a_file_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = chain(tmp_path)
    inside = load_model(path)
    monkeypatch.setattr(external_data, "MAX_BYTES", 64)
    model = load_model(path)
    assert isinstance(model.graph.weights["w"].values(), np.memmap)
    assert model.analysis.blocks == inside.analysis.blocks
    assert split(path, [1]).report.bit_exact
    before = model.sha256
    (tmp_path / "m.data").write_bytes(VALUES[::-1].tobytes())
    assert load_model(path).sha256 != before
    assert pack(path, tmp_path) == (path, {})
    with pytest.raises(UnsupportedModelError, match="exceed the 2 GiB that one ONNX file holds"):
        pack(path, tmp_path, Adaptation(outputs=("y",)))


@pytest.mark.parametrize("location", ["../m.data", "/etc/hostname", "a/../../m.data", ""])
def test_files_outside_the_folder_of_the_model_are_not_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = chain(folder)
    (tmp_path / "m.data").write_bytes((folder / "m.data").read_bytes())
    model = onnx.load_model(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExternalDataError, match=r"tensor 'w' is stored in .* not below the folder"):
        load_model(path)


def refer(path: Path, **entries: str) -> None:
    """Give the weight of a saved model another place."""
    model = onnx.load_model(path, load_external_data=False)
    (tensor,) = model.graph.initializer
    kept = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("way", ["file", "folder"])
def test_links_that_leave_the_folder_of_the_model_are_not_followed(tmp_path: Path, way: str) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    path = chain(inner)
    (inner / "m.data").rename(outer / "m.data")
    if way == "file":
        (inner / "m.data").symlink_to(outer / "m.data")
    else:
        (inner / "sub").symlink_to(outer)
        refer(path, location="sub/m.data")
    with pytest.raises(ExternalDataError, match=r"tensor 'w' is stored in .* not below the folder"):
        load_model(path)


def test_a_model_that_is_a_link_has_its_weights_where_it_points_to(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    whole = load_model(chain(blobs)).sha256
    (blobs / "m.data").rename(blobs / "1234")
    for name, blob in (("m.onnx", "m.onnx"), ("m.data", "1234")):
        (snapshot / name).symlink_to(blobs / blob)
    assert load_model(snapshot / "m.onnx").sha256 == whole


def test_only_files_are_read(tmp_path: Path) -> None:
    path = chain(tmp_path)
    (tmp_path / "m.data").unlink()
    os.mkfifo(tmp_path / "m.data")
    with pytest.raises(ExternalDataError, match="is not a file"):
        load_model(path)
    refer(path, location=".")
    with pytest.raises(ExternalDataError, match="is not a file"):
        load_model(path)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"offset": "many"}, "no such offset or length"),
        ({"offset": "-4"}, "has 64 bytes, not"),
        ({"length": "-1"}, "has 64 bytes, not -1"),
        ({"offset": str(2**70)}, "has 64 bytes, not"),
        ({"location": "m\0.data"}, "cannot be read"),
        ({"location": "x" * 5000}, "cannot be read"),
    ],
)
def test_places_that_are_none_are_refused_in_one_line(tmp_path: Path, place: dict[str, str], reason: str) -> None:
    path = chain(tmp_path)
    refer(path, **place)
    with pytest.raises(ExternalDataError, match=reason):
        load_model(path)


def test_a_file_of_another_model(tmp_path: Path) -> None:
    path = chain(tmp_path)
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(ExternalDataError, match=r"tensor 'w' is stored in .*m\.data, which has 5 bytes, not 64"):
        load_model(path)
