import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, helper, numpy_helper

from shared.model.errors import ExternalDataError, ModelFileError, UnsupportedModelError
from shared.model.onnx_file import extract_segment, load_model, verify_chain
from shared.model.onnx_file.external_data import pack
from shared.model.onnx_file.verification import BlockChain
from tests.support.onnx_texts import onnx_bytes

SQUARE = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
CHAIN = "g (float[1,4] x) => (float[1,4] y) {a = MatMul(x, w) s = Softmax(a) y = MatMul(s, w)}"


def test_a_model_is_known_by_the_hash_of_its_bytes(tmp_path: Path) -> None:
    data = onnx_bytes(CHAIN, w=SQUARE)
    (tmp_path / "m.onnx").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    assert load_model(data).sha256 == load_model(tmp_path / "m.onnx").sha256 == sha256
    assert load_model(str(tmp_path / "m.onnx")).analysis == load_model(data).analysis


def test_a_file_that_is_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ModelFileError, match=r"m\.onnx has 8\.0 GiB: an ONNX file has at most 2 GiB"):
        load_model(tmp_path / "m.onnx")


def test_what_is_not_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ModelFileError, match="is not a file"):
            load_model(path)
        assert pack(path, tmp_path)[0] == path


def test_types_of_elements_that_no_release_of_onnx_has() -> None:
    model = onnx.load_from_string(onnx_bytes(CHAIN, w=SQUARE))
    model.graph.input[0].type.tensor_type.elem_type = 77
    with pytest.raises(UnsupportedModelError, match="type 77"):
        load_model(model.SerializeToString())


def test_graphs_that_onnx_itself_stumbles_over() -> None:
    model = onnx.load_from_string(onnx_bytes(CHAIN, w=SQUARE))
    model.graph.sparse_initializer.add()
    with pytest.raises(ModelFileError, match=r"not a valid ONNX model: \w+Error: "):
        load_model(model.SerializeToString())
    model.graph.ClearField("sparse_initializer")
    function = model.functions.add()
    function.name, function.domain = "Softmax", ""
    with pytest.raises(ModelFileError, match="not a valid ONNX model: RuntimeError: "):
        load_model(model.SerializeToString())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot read .*gone\.onnx"):
        load_model(tmp_path / "gone.onnx")


@pytest.mark.parametrize(
    "data", [b"", b"hello world", b"\x89PNG\r\n\x1a\n\0\0\0", onnx.ModelProto().SerializeToString()]
)
def test_bytes_that_are_no_model(data: bytes) -> None:
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        load_model(data)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Add(x, nowhere)", "nowhere"),
        ("y = Fooo(x)", "Fooo"),
        ("y = Relu(x) y = Exp(x)", "y"),
    ],
)
def test_models_that_are_not_valid(body: str, reason: str) -> None:
    with pytest.raises(ModelFileError, match=f"not a valid ONNX model: .*{reason}") as error:
        load_model(onnx_bytes(f"g (float[1,4] x) => (float[1,4] y) {{{body}}}"))
    assert "\n" not in str(error.value)


def test_initializers_among_the_inputs_are_no_inputs() -> None:
    data = onnx_bytes(
        "g (float[1,4] x, float[4,4] w) => (float[1,4] y) {a = MatMul(x, w) s = Softmax(a) y = MatMul(s, w)}",
        ir_version=3,
        opset=9,
        w=SQUARE,
    )
    model = load_model(data)
    assert [tensor.name for tensor in model.analysis.input] == ["x"]
    segments = [extract_segment(model, 0, 1), extract_segment(model, 1, 3)]
    assert verify_chain(data, segments, model.analysis.input).bit_exact


@pytest.mark.parametrize(
    "body",
    [
        "a = Softmax(x) b = com.microsoft.Gelu(a) y = Softmax(b)",
        """a = Softmax(x) b = If <then_branch = t () => (float[1,4] c) {c = com.microsoft.Gelu(a)},
        else_branch = e () => (float[1,4] d) {d = Exp(a)}> (condition) y = Softmax(b)""",
    ],
)
def test_the_runtimes_own_operators_need_no_import(body: str) -> None:
    """The runtime runs such files, which some quantisers write."""
    condition = ", bool condition" if "If" in body else ""
    data = onnx_bytes(f"g (float[1,4] x{condition}) => (float[1,4] y) <float[1,4] b> {{{body}}}")
    model = load_model(data)
    assert model.graph.opsets["com.microsoft"] == 1
    assert model.sha256 == hashlib.sha256(data).hexdigest()
    assert verify_chain(data, BlockChain(model), model.analysis.input).unoptimised_rel_error == 0


def external_model(folder: Path) -> Path:
    model = onnx.load_model_from_string(onnx_bytes(CHAIN, w=SQUARE))
    external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save_model(model, folder / "m.onnx")
    return folder / "m.onnx"


def test_weights_are_read_from_the_file_beside_the_model(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    model = load_model(path)
    assert np.array_equal(model.graph.weights["w"].values(), SQUARE)
    segments = [extract_segment(model, 0, 2), extract_segment(model, 2, 3)]
    assert verify_chain(path, segments, model.analysis.input).bit_exact


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ExternalDataError, match=r"'w' .*weights\.bin"):
        load_model(path)


def test_bytes_have_no_file_beside_them(tmp_path: Path) -> None:
    data = external_model(tmp_path).read_bytes()
    with pytest.raises(ExternalDataError, match=r"'weights\.bin' beside the model"):
        load_model(data)


def test_functions_of_the_model_are_taken_apart() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[1,4] x) => (float[1,4] y) {a = local.f(x) y = local.f(a)}
        <domain: "local", opset_import: ["" : 17]> f (p) => (q) {t = Softmax(p) q = Tanh(t)}"""
    model = load_model(onnx.parser.parse_model(text).SerializeToString())
    assert [block.operators for block in model.analysis.blocks] == [("Softmax", "Tanh"), ("Softmax", "Tanh")]


def test_inputs_that_are_no_tensors() -> None:
    with pytest.raises(UnsupportedModelError, match="input 'x' is not a dense tensor"):
        load_model(onnx_bytes("g (seq(float[1]) x) => (int64 y) {y = SequenceLength(x)}"))


@pytest.mark.parametrize("places", [[0, 5, 15], [[0, 0], [1, 1], [3, 3]]])
def test_sparse_weights_become_dense(places: list[int]) -> None:
    model = onnx.load_model_from_string(onnx_bytes(CHAIN))
    values = helper.make_tensor("w", 1, [3], [1.0, 2.0, 3.0])
    indices = numpy_helper.from_array(np.array(places), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 4]))
    data = model.SerializeToString()
    loaded = load_model(data)
    assert np.array_equal(loaded.graph.weights["w"].values(), np.diag([1.0, 2.0, 0.0, 3.0]))
    segments = [extract_segment(loaded, index, index + 1) for index in range(loaded.partition.block_count)]
    assert verify_chain(data, segments, loaded.analysis.input).bit_exact


def test_places_beyond_the_shape_of_a_sparse_weight() -> None:
    model = onnx.load_model_from_string(onnx_bytes(CHAIN))
    values, indices = helper.make_tensor("w", 1, [1], [1.0]), helper.make_tensor("places", 7, [1], [99])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 4]))
    with pytest.raises(ModelFileError, match="sparse initializer 'w' is broken"):
        load_model(model.SerializeToString())


def test_weights_of_strings_are_constants() -> None:
    text = """g (float[1,4] x) => (float[1,4] y) {
        t = Softmax(x) e = Equal(names, name) c = Cast <to = 1> (e) y = Mul(t, c)
        }"""
    words = {"names": np.array(["a", "b", "c", "d"], dtype=object), "name": np.array(["b"], dtype=object)}
    data = onnx_bytes(text, words, opset=19)
    model = load_model(data)
    assert verify_chain(data, [extract_segment(model, 0, 1)], model.analysis.input).bit_exact


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("g (bfloat16[1,4] x) => (float[1,4] y) {y = Cast <to = 1> (x)}", "input 'x'"),
        ("g (float[1,4] x) => (bfloat16[1,4] y) {y = Cast <to = 16> (x)}", "output 'y'"),
    ],
)
def test_ends_that_no_message_can_carry(text: str, end: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{end} is bfloat16, which the runtime does not exchange"):
        load_model(onnx_bytes(text))


def test_a_scalar_output_is_compared() -> None:
    data = onnx_bytes("g (float[1,4] x) => (float y) {t = Softmax(x) y = ReduceSum <keepdims = 0> (t)}")
    model = load_model(data)
    assert verify_chain(
        data, [extract_segment(model, 0, 1), extract_segment(model, 1, 2)], model.analysis.input
    ).bit_exact
