import itertools
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from shared.inference_runtime import new_session_options, onnxruntime
from shared.model.architectures import build
from shared.model.errors import ExternalDataError, ModelError, ModelFileError
from shared.model.materialise import materialise_weights
from shared.model.onnx_file import extract_segment, load_model, to_bytes, write_onnx
from shared.model.onnx_file.packed_file import PackedModel, open_packed, pack_model, stored_ranges
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from tests.support.onnx_texts import onnx_bytes

LARGE = np.random.default_rng(0).standard_normal((4, 2048)).astype(np.float32)


def pack(data: bytes | Path, folder: Path, **options: object) -> PackedModel:
    if isinstance(data, bytes):
        (folder / "net.onnx").write_bytes(data)
        data = folder / "net.onnx"
    return pack_model(data, folder / "net.packed", sha256="0" * 64, **options)  # type: ignore[arg-type]


def run(data: bytes, folder: Path, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = new_session_options()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, values), strict=True))


def chain(model: PartitionedModel, folder: Path, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a model in two segments, or in one if it has one block."""
    count = model.partition.block_count
    for start, stop in itertools.pairwise(sorted({0, count // 2, count})):
        values = run(extract_segment(model, start, stop), folder, values)
    return values


@pytest.mark.parametrize("name", ["tiny", "squeezenet"])
def test_blocks_of_a_packed_model_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write_onnx(materialise_weights(build(name), 0), path)
    whole = load_model(path)
    packed = pack(path, tmp_path)
    assert packed.model.analysis.blocks == whole.analysis.blocks
    assert packed.model.analysis.cuts == whole.analysis.cuts
    (spec,) = whole.analysis.input
    values = {spec.name: np.random.default_rng(1).standard_normal(spec.shape).astype(np.float32)}
    for output, expected in chain(whole, tmp_path, values).items():
        assert np.array_equal(chain(packed.model, tmp_path, values)[output], expected)


def test_a_device_needs_only_the_graph_and_the_weights_of_its_blocks(tmp_path: Path) -> None:
    text = "g (float[1,4] x) => (float[1,4] y) {a = MatMul(x, v) b = Relu(a) c = MatMul(b, w) y = Relu(c)}"
    packed = pack(onnx_bytes(text, v=LARGE, w=LARGE.T.copy()), tmp_path)
    model, size = packed.model, packed.path.stat().st_size
    graph = segment_graph(model, 1, 2)
    ((start, stop),) = stored_ranges(graph.weights)
    assert packed.path.read_bytes()[start:stop] == LARGE.T.tobytes()
    sparse = tmp_path / "device" / "net.packed"
    sparse.parent.mkdir()
    with packed.path.open("rb") as whole, sparse.open("wb") as file:
        file.truncate(size)
        for begin, end in ((start, stop), (packed.graph_start, size)):
            os.pwrite(file.fileno(), os.pread(whole.fileno(), end - begin, begin), begin)
    there = open_packed(sparse, packed.graph_start, sha256="0" * 64)
    values = {"b": np.ones((1, 2048), np.float32)}
    (output,) = run(extract_segment(there, 1, 2), sparse.parent, values).values()
    assert np.allclose(output, np.maximum(values["b"] @ LARGE.T, 0), rtol=1e-4)


def test_values_that_shapes_depend_on_stay_in_the_graph(tmp_path: Path) -> None:
    """The size of the resized map is a corner of a large table."""
    text = """g (float[1,1,2,2] x) => (float[1,1,h,w] y) {
        at = Constant<value = int64[4] {0, 1, 2, 3}>() sizes = Gather(table, at) y = Resize(x, , , sizes)}"""
    table = np.arange(5000, dtype=np.int64)
    table[:4] = (1, 1, 6, 8)
    packed = pack(onnx_bytes(text, table=table), tmp_path)
    assert packed.model.analysis.outputs[0].shape == (1, 1, 6, 8)
    assert packed.model.analysis.outputs == load_model(tmp_path / "net.onnx").analysis.outputs


def test_weights_in_constant_nodes_and_in_typed_fields_are_moved(tmp_path: Path) -> None:
    v, node = helper.make_tensor_value_info, helper.make_node
    typed = helper.make_tensor("w", onnx.TensorProto.FLOAT, (2048, 4), LARGE.T.ravel().tolist())
    nodes = [
        node("Constant", [], ["v"], value=numpy_helper.from_array(LARGE)),
        node("MatMul", ["x", "v"], ["a"]),
        node("MatMul", ["a", "w"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [v("x", 1, [1, 4])], [v("y", 1, [1, 4])], [typed])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    packed = pack(model.SerializeToString(), tmp_path)
    assert packed.graph_start == 2 * LARGE.nbytes
    assert packed.path.stat().st_size < packed.graph_start + 2000
    values = {"x": np.ones((1, 4), np.float32)}
    (output,) = chain(packed.model, tmp_path, values).values()
    assert np.allclose(output, values["x"] @ LARGE @ LARGE.T, rtol=1e-3)


def test_weights_beside_the_file_are_copied_and_must_be_there(tmp_path: Path) -> None:
    text = "g (float[1,4] x) => (float[1,2048] y) {y = MatMul(x, v)}"
    whole = onnx_bytes(text, v=LARGE)
    onnx.save_model(
        onnx.load_model_from_string(whole),
        tmp_path / "net.onnx",
        save_as_external_data=True,
        location="net.data",
        size_threshold=0,
    )
    packed = pack(tmp_path / "net.onnx", tmp_path)
    assert packed.path.read_bytes()[: LARGE.nbytes] == LARGE.tobytes()
    (tmp_path / "net.data").unlink()
    with pytest.raises(ExternalDataError, match=r"net\.data"):
        pack(tmp_path / "net.onnx", tmp_path)


@pytest.mark.parametrize("data", [b"", b"no model", bytes(1000)])
def test_a_damaged_graph_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "net.packed").write_bytes(bytes(64) + data)
    with pytest.raises(ModelError):
        open_packed(tmp_path / "net.packed", 64, sha256="0" * 64)
    with pytest.raises(ModelFileError):
        open_packed(tmp_path / "nowhere", 64, sha256="0" * 64)


def test_weights_behind_the_graph_are_refused(tmp_path: Path) -> None:
    packed = pack(onnx_bytes("g (float[1,4] x) => (float[1,2048] y) {y = MatMul(x, v)}", v=LARGE), tmp_path)
    graph = packed.path.read_bytes()[packed.graph_start :]
    packed.path.write_bytes(graph)
    with pytest.raises(ModelFileError, match="not in front of the graph"):
        open_packed(packed.path, 0, sha256="0" * 64)


def test_small_models_are_a_graph_alone(tmp_path: Path) -> None:
    packed = pack(to_bytes(build("tiny")), tmp_path)
    assert stored_ranges(packed.model.graph.weights) == () or packed.graph_start > 0
