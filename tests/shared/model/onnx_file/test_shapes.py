import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike

from shared.model.errors import ShapeError, UnsupportedModelError
from shared.model.onnx_file import extract_segment, load_model, verify_chain
from tests.support.onnx_texts import onnx_bytes

KERNEL = np.linspace(-1, 1, 4 * 3 * 9, dtype=np.float32).reshape(4, 3, 3, 3)
IMAGE = "g (float[N,3,H,W] x) => (float[N,4,h,w] y) {a = Conv(x, k) y = Relu(a)}"


def blocks_agree(data: bytes) -> tuple[int, bool]:
    """Return the number of blocks, and whether the chain of single blocks computes the same numbers as the whole."""
    model = load_model(data)
    count = model.partition.block_count
    segments = [extract_segment(model, index, index + 1) for index in range(count)]
    return count, verify_chain(data, segments, model.analysis.input).bit_exact


def test_a_lone_batch_dimension_is_one() -> None:
    data = onnx_bytes("g (float[N,3,8,8] x) => (float[N,4,6,6] y) {y = Conv(x, k)}", k=KERNEL)
    assert load_model(data).analysis.input[0].shape == (1, 3, 8, 8)
    assert load_model(data, input_shapes={"x": (5, 3, 8, 8)}).analysis.outputs[0].shape == (5, 4, 6, 6)


@pytest.mark.parametrize("size", [0, -1])
def test_exporters_that_write_a_dynamic_dimension_as_a_number(size: int) -> None:
    model = onnx.load_model_from_string(
        onnx_bytes("g (float[N,3,8,8] x) => (float[N,4,6,6] y) {y = Conv(x, k)}", k=KERNEL)
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    assert load_model(model.SerializeToString()).analysis.input[0].shape == (1, 3, 8, 8)


def test_large_weights_take_part_in_inference() -> None:
    data = onnx_bytes("g (float[1,40] x) => (float[n,m] y) {y = MatMul(x, w)}", w=np.ones((40, 50), np.float32))
    assert load_model(data).analysis.outputs[0].shape == (1, 50)


def test_other_dynamic_dimensions_have_to_be_given() -> None:
    data = onnx_bytes(IMAGE, k=KERNEL)
    with pytest.raises(ShapeError, match=r"dynamic dimensions \(N, H, W\).*--input-shape x=\?,3,\?,\?"):
        load_model(data)
    model = load_model(data, input_shapes={"x": (1, 3, 8, 9)})
    assert model.analysis.outputs[0].shape == (1, 4, 6, 7)


@pytest.mark.parametrize("shape", [(1, 5, 8, 8), (3, 8, 8), (1, 3, 0, 8), (1, 3, -1, 8)])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="does not fit input 'x', which is"):
        load_model(onnx_bytes(IMAGE, k=KERNEL), input_shapes={"x": shape})


def test_a_shape_for_an_input_that_is_not_there() -> None:
    with pytest.raises(ShapeError, match="no input 'image': its inputs are 'x'"):
        load_model(onnx_bytes(IMAGE, k=KERNEL), input_shapes={"image": (1, 3, 8, 8)})


def test_a_static_shape_may_be_repeated() -> None:
    data = onnx_bytes("g (float[1,3,8,8] x) => (float[1,4,6,6] y) {y = Conv(x, k)}", k=KERNEL)
    assert load_model(data, input_shapes={"x": (1, 3, 8, 8)}).analysis == load_model(data).analysis


def test_a_shape_that_does_not_suit_the_weights() -> None:
    data = onnx_bytes("g (float[1,C,8,8] x) => (float[1,4,6,6] y) {y = Conv(x, k)}", k=KERNEL)
    with pytest.raises(ShapeError, match=r"Conv\(y\).* 5 channels, its weights are for 3"):
        load_model(data, input_shapes={"x": (1, 5, 8, 8)})
    data = onnx_bytes("g (float[1,K] x) => (float[1,4] y) {y = MatMul(x, w)}", w=np.ones((3, 4), np.float32))
    with pytest.raises(ShapeError, match=r"does not suit the model: .*MatMul"):
        load_model(data, input_shapes={"x": (1, 5)})


def test_operators_that_nobody_has_are_refused_with_the_runtime_s_reason() -> None:
    text = "g (float[1,4] x) => (int64[2,n] y) {a = Tanh(x) c = com.example.Mystery(a) y = NonZero(c)}"
    with pytest.raises(ShapeError, match=r"Mystery.* tensor 'c' cannot be found: .*Mystery.* not a registered"):
        load_model(onnx_bytes(text))


def test_inputs_of_strings_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="input 'x' has elements of type STRING"):
        load_model(onnx_bytes("g (string[1,4] x) => (string[1,4] y) {y = Identity(x)}"))


def test_an_input_without_a_shape_has_to_be_given_one() -> None:
    model = onnx.load_model_from_string(onnx_bytes("g (float[1,4] x) => (float[1,4] y) {y = Softmax(x)}"))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    data = model.SerializeToString()
    with pytest.raises(ShapeError, match="input 'x' has no shape: give one, --input-shape x="):
        load_model(data)
    assert load_model(data, input_shapes={"x": (2, 4)}).analysis.outputs[0].shape == (2, 4)


def test_shapes_that_only_the_runtime_knows() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g (float[1,3,8,8] x) => (float[N,4] y) {
        c = com.microsoft.FusedConv <activation = "Relu"> (x, k) p = GlobalAveragePool(c) y = Flatten(p)
        }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(KERNEL, "k"))
    data = model.SerializeToString()
    assert load_model(data).graph.tensors["c"].shape == (1, 4, 6, 6)
    assert blocks_agree(data) == (2, True)


def test_shapes_that_only_the_outputs_declare() -> None:
    text = "g (float[1,4] x) => (float[1,2] y) {a = Softmax(x) y = com.example.Mystery(a)}"
    assert load_model(onnx_bytes(text)).analysis.outputs[0].shape == (1, 2)


def test_operators_of_another_domain_may_state_their_shapes() -> None:
    text = "g (float[1,4] x) => (float[1,2] y) <float[1,3] a> {a = com.example.Mystery(x) y = MatMul(a, w)}"
    model = load_model(onnx_bytes(text, w=np.ones((3, 2), np.float32)))
    assert model.analysis.cuts[0].size_bytes == 12


def test_the_runtime_tells_the_shapes_of_its_own_operators() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,4,4,4] y) {
        c = Conv <pads = [1,1,1,1]> (x, k) q = QuantizeLinear(c, scale, zero)
        s = com.microsoft.QLinearSigmoid(q, scale, zero, fine, zero) d = DequantizeLinear(s, fine, zero)
        y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (d)
        }"""
    scales = {"scale": np.float32(0.05), "fine": np.float32(0.004)}
    data = onnx_bytes(text, {**scales, "zero": np.uint8(128), "k": KERNEL})
    assert load_model(data).graph.tensors["s"].shape == (1, 4, 8, 8)
    assert blocks_agree(data)[0] > 1


def test_shape_computations_become_constants() -> None:
    text = """g (float[N,3,4,4] x) => (float[N,5] y) {
        a = MaxPool <kernel_shape = [2,2]> (x)
        s = Shape(a) n = Gather(s, zero) u = Unsqueeze(n, first) t = Concat <axis = 0> (u, rest)
        r = Reshape(a, t) y = MatMul(r, w)
        }"""
    weights: dict[str, ArrayLike] = {"zero": np.int64(0), "first": np.array([0]), "rest": np.array([-1])}
    data = onnx_bytes(text, weights, w=np.ones((27, 5), np.float32))
    assert blocks_agree(data) == (2, True)
    assert load_model(data).graph.weights["t"].values().tolist() == [1, -1]


def test_quantised_weights_stay_quantised() -> None:
    """Shape inference needs the value of `pads`, and must not replace the dequantised weights on its way."""
    rng = np.random.default_rng(0)
    # Channels of different ranges: weights that are quantised again per tensor lose the small ones.
    kernel = rng.uniform(-1, 1, (8, 1, 3, 3)) * np.geomspace(0.02, 1, 8)[:, None, None, None]
    scale = (np.abs(kernel).max((1, 2, 3)) / 127).astype(np.float32)
    text = """g (float[1,8,8,8] x) => (float[1,4] y) {
        xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
        pads = Cast <to = 7> (p32) xp = Pad(xd, pads)
        pq = QuantizeLinear(xp, s, z) pd = DequantizeLinear(pq, s, z)
        w = DequantizeLinear <axis = 0> (wq, ws, wz) c = Conv <group = 8> (pd, w)
        cq = QuantizeLinear(c, cs, cz) cd = DequantizeLinear(cq, cs, cz)
        g = GlobalAveragePool(cd) f = Flatten(g) y = MatMul(f, fc)
        }"""
    weights: dict[str, ArrayLike] = {
        "wq": np.round(kernel / scale[:, None, None, None]).astype(np.int8),
        "ws": scale,
        "wz": np.zeros(8, np.int8),
        "s": np.float32(0.03),
        "z": np.uint8(128),
        "cs": np.float32(0.02),
        "cz": np.uint8(128),
        "fc": rng.standard_normal((8, 4)).astype(np.float32),
        "p32": np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int32),
    }
    data = onnx_bytes(text, weights)
    model = load_model(data)
    assert "w" not in model.graph.weights
    assert model.graph.weights["pads"].values().tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert blocks_agree(data)[1]


def test_part_of_a_shape_and_a_size_become_constants() -> None:
    text = """g (float[N,4] x) => (float[N,4] y) {
        t = Softmax(x)
        n = Shape <start = 1> (t) z = Size(t) u = Unsqueeze(z, first) m = Mul(n, u) c = Cast <to = 1> (m)
        p = Add(t, c) y = Softmax(p)
        }"""
    data = onnx_bytes(text, first=np.array([0]))
    assert blocks_agree(data) == (2, True)


def test_shapes_that_inference_alone_does_not_find() -> None:
    text = """g (float[N,4] x) => (float[N,M] y) {
        s = Shape(x) n = Gather(s, one) r = Range(zero, n, one) c = Cast <to = 1> (r) a = Add(x, c)
        u = Unsqueeze(n, first) o = ConstantOfShape <value = float[1] {2.0}> (u) t = Softmax(a) y = Mul(t, o)
        }"""
    data = onnx_bytes(text, zero=np.int64(0), one=np.int64(1), first=np.array([0]))
    assert blocks_agree(data)[1]


def test_shapes_that_have_to_be_computed() -> None:
    text = """g (float[N,3,4] x) => (float[a,b] y) {
        t = Softmax(x) s = Shape(t) all = ReduceProd(s) to = Expand(all, two) half = Div(to, divisors)
        r = Reshape(t, half) u = Tanh(r) v = Shape(u) w = ReduceMax(v) y = Resize(u, , , v)
        }"""
    data = onnx_bytes(text, two=np.array([2]), divisors=np.array([6, 2]))
    assert blocks_agree(data)[1]
    assert load_model(data).analysis.outputs[0].shape == (2, 6)


def test_weights_that_contradict_the_shape() -> None:
    data = onnx_bytes("g (float[1,4] x) => (float[1,4] y) {y = MatMul(x, w)}", w=np.ones((5, 4), np.float32))
    with pytest.raises(ShapeError, match=r"MatMul\(y\).*Incompatible dimensions"):
        load_model(data)


def test_a_resize_to_a_computed_size() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4,h,w] y) {
        a = Conv(x, k) s = Shape(a) hw = Slice(s, two, four) double = Mul(hw, two)
        nc = Slice(s, zero, two) size = Concat <axis = 0> (nc, double)
        p = MaxPool <kernel_shape = [2,2]> (a) y = Resize(p, , , size)
        }"""
    data = onnx_bytes(text, k=KERNEL, two=np.array([2]), four=np.array([4]), zero=np.array([0]))
    assert blocks_agree(data) == (3, True)
    assert load_model(data).analysis.outputs[0].shape == (1, 4, 12, 12)


def test_stale_shapes_in_the_file_do_not_matter() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,4,6,6] y) <float[N,4,6,6] a> {a = Conv(x, k) y = Relu(a)}"
    assert load_model(onnx_bytes(text, k=KERNEL)).graph.tensors["a"].shape == (1, 4, 6, 6)


def test_a_fourier_transform_is_one_sided_unless_it_says_so() -> None:
    """ONNX's inference takes 8 frequencies for the default."""
    text = """g (float[1,64,1] x) => (float[1,15,5,3] y) {
        f = STFT(x, step, window) y = MatMul(f, w)
        }"""
    data = onnx_bytes(
        text,
        step=np.array(4),
        window=np.ones(8, np.float32),
        w=np.ones((2, 3), np.float32),
    )
    model = load_model(data, input_shapes={"x": (1, 64, 1)})
    assert model.graph.tensor("f").shape == (1, 15, 5, 2)
    assert blocks_agree(data)[1]


def test_the_first_fault_of_a_shape_is_reported() -> None:
    text = "g (float[1,n,4] x) => (float[1,n,4] y) {a = MatMul(x, w) b = Add(a, c) y = Relu(b)}"
    data = onnx_bytes(text, w=np.ones((4, 4), np.float32), c=np.ones((1, 3, 4), np.float32))
    with pytest.raises(ShapeError, match="does not suit the model") as refused:
        load_model(data, input_shapes={"x": (1, 2, 4)})
    assert str(refused.value).count("op_type") == 1
