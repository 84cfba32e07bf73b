import io
import re
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.executor.errors import BadInput
from services.executor.segments.prepare import prepare
from shared.messages.models import Manifest, ManifestBlock, Preprocessing, ResizeMode, TensorDescription


def manifest(*inputs: TensorDescription, **preprocessing: Any) -> Manifest:
    return Manifest(
        model="0" * 64,
        name="m",
        size_bytes=1,
        inputs=inputs or (TensorDescription(name="x", shape=(1, 3, 4, 6), dtype="float32"),),
        outputs=(TensorDescription(name="y", shape=(1, 2), dtype="float32"),),
        blocks=(ManifestBlock(name="prepare", output_bytes=1),),
        preprocessing=Preprocessing(**preprocessing),
    )


IMAGE = manifest(kind="image", height=4, width=6)
PAIR = manifest(
    TensorDescription(name="a", shape=(2,), dtype="float32"), TensorDescription(name="b", shape=(1,), dtype="int64")
)


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def uniform(height: int, width: int, colour: tuple[int, int, int] = (10, 20, 30)) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def test_pixels_become_numbers_per_channel() -> None:
    steps = manifest(kind="image", height=4, width=6, mean=(10.0, 10.0, 10.0), scale=(1.0, 2.0, 4.0))
    tensor = prepare(encoded(uniform(4, 6)), steps)["x"]
    assert tensor.shape == (1, 3, 4, 6)
    assert tensor.dtype == np.float32
    assert tensor[0, :, 2, 2].tolist() == [0.0, 5.0, 5.0]


def test_channel_order_and_layout() -> None:
    spec = TensorDescription(name="x", shape=(1, 4, 6, 3), dtype="float32")
    steps = manifest(spec, kind="image", height=4, width=6, layout="NHWC", channel_order="BGR")
    assert prepare(encoded(uniform(4, 6)), steps)["x"][0, 0, 0].tolist() == [30.0, 20.0, 10.0]


def test_a_centre_crop_leaves_the_borders_out() -> None:
    pixels = uniform(4, 18, (0, 0, 0))
    pixels[:, 6:12] = 200
    tensor = prepare(encoded(pixels), IMAGE)["x"]
    assert tensor.min() == 200.0
    stretched = prepare(encoded(pixels), manifest(kind="image", height=4, width=6, resize=ResizeMode.STRETCH))["x"]
    assert stretched.min() == 0.0


def test_the_crop_fraction_zooms_in() -> None:
    pixels = uniform(40, 60, (0, 0, 0))
    pixels[10:30, 15:45] = 200
    whole = prepare(encoded(pixels), IMAGE)["x"]
    inner = prepare(encoded(pixels), manifest(kind="image", height=4, width=6, crop_fraction=0.5))["x"]
    assert inner.mean() > 1.5 * whole.mean()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "I;16"])
def test_every_kind_of_png_becomes_colour(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (9, 9)).save(buffer, "PNG")
    assert prepare(buffer.getvalue(), IMAGE)["x"].shape == (1, 3, 4, 6)


def test_a_photograph_is_turned_upright() -> None:
    pixels = uniform(4, 6, (0, 0, 0))
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    tensor = prepare(encoded(pixels, exif=exif), IMAGE)["x"]
    assert tensor[0, 0, 0].max() == 0.0
    assert tensor[0, 0, 3].min() == 255.0


def test_the_same_bytes_make_the_same_numbers() -> None:
    photograph = encoded(np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8), "JPEG")
    assert np.array_equal(prepare(photograph, IMAGE)["x"], prepare(photograph, IMAGE)["x"])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty"),
        (b"hello", r"expected a picture \(JPEG, PNG, WEBP, BMP, TIFF, GIF\) or a tensor float32"),
        (b"\xff\xd8\xff" + b"\x00" * 100, "does not decode"),
        (encoded(uniform(64, 64), "JPEG")[:300], "does not decode"),
        (encoded(uniform(64, 64), "PNG")[:-40], "does not decode"),
        (b"\x93NUMPY\x01\x00garbage", ".npy"),
        (msgpack.packb([1, 2]), "expected"),
        (msgpack.packb({"data": b"123"}), "does not decode"),
        (msgpack.packb({"x": 5}), "no map"),
        (msgpack.packb({"y": 5}), "'x' is missing"),
        (msgpack.packb({"data": b"", "dtype": "O", "shape": [0]}), "has type object"),
    ],
)
def test_what_is_no_input_is_refused_with_what_was_expected(data: bytes, text: str) -> None:
    with pytest.raises(BadInput, match="(?s)" + text):
        prepare(data, IMAGE)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = encoded(np.zeros((3000, 3000, 3), np.uint8))
    assert len(bomb) < 100_000
    with pytest.raises(BadInput, match="3000 x 3000"):
        prepare(bomb, IMAGE, max_pixels=1_000_000)


def test_raw_bytes_numpy_and_msgpack_are_the_same_tensor() -> None:
    tensor = np.random.default_rng(0).standard_normal((1, 3, 4, 6)).astype(np.float32)
    npy = io.BytesIO()
    np.save(npy, tensor)
    packed = msgpack.packb({"dtype": "float32", "shape": [1, 3, 4, 6], "data": tensor.tobytes()})
    for data in (tensor.tobytes(), npy.getvalue(), packed):
        assert np.array_equal(prepare(data, manifest())["x"], tensor)


def test_a_tensor_of_another_size_or_type_is_refused() -> None:
    for array in (np.zeros((1, 3, 4, 7), np.float32), np.zeros((1, 3, 4, 6), np.int64), np.full((1, 3, 4, 6), 1e300)):
        npy = io.BytesIO()
        np.save(npy, array)
        with pytest.raises(BadInput, match="the model takes float32"):
            prepare(npy.getvalue(), manifest())


@pytest.mark.parametrize("dtype", ["float64", ">f4", "float16"])
def test_floats_of_another_width_are_cast(dtype: str) -> None:
    tensor = np.random.default_rng(0).standard_normal((1, 3, 4, 6)).astype(dtype)
    npy = io.BytesIO()
    np.save(npy, tensor)
    packed = msgpack.packb({"dtype": dtype, "shape": [1, 3, 4, 6], "data": tensor.tobytes()})
    for data in (npy.getvalue(), packed):
        assert np.array_equal(prepare(data, manifest())["x"], tensor.astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 4, 6, 3), (1, 3, 6, 4), (72,), (3, 4, 6, 1), (1, 3, 24)])
def test_a_tensor_of_another_layout_is_refused(shape: tuple[int, ...]) -> None:
    """The number of elements is right, and their order is not."""
    array = np.zeros(shape, np.float32)
    npy = io.BytesIO()
    np.save(npy, array)
    packed = msgpack.packb({"dtype": "float32", "shape": shape, "data": array.tobytes()})
    for data in (npy.getvalue(), packed):
        with pytest.raises(BadInput, match=rf"float32 {re.escape(str(list(shape)))}, the model takes float32 \[1, 3"):
            prepare(data, manifest())


@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 1, 3, 4, 6)])
def test_a_batch_of_one_may_be_missing(shape: tuple[int, ...]) -> None:
    npy = io.BytesIO()
    np.save(npy, np.arange(72, dtype=np.float32).reshape(shape))
    assert prepare(npy.getvalue(), manifest())["x"].reshape(-1).tolist() == list(range(72))


def test_column_order_and_big_endian_tensors_keep_their_numbers() -> None:
    tensor = np.arange(72, dtype=np.float32).reshape(1, 3, 4, 6)
    for array in (np.asfortranarray(tensor), tensor.astype(">f4")):
        npy = io.BytesIO()
        np.save(npy, array)
        assert np.array_equal(prepare(npy.getvalue(), manifest())["x"], tensor)


def integers(dtype: str, **steps: Any) -> Manifest:
    spec = TensorDescription(name="x", shape=(1, 4, 6, 3), dtype=dtype)
    return manifest(spec, kind="image", height=4, width=6, layout="NHWC", **steps)


def test_integer_inputs_get_whole_pixels() -> None:
    assert prepare(encoded(uniform(4, 6)), integers("uint8"))["x"][0, 0, 0].tolist() == [10, 20, 30]
    shifted = integers("int8", mean=(128.0,) * 3)
    assert prepare(encoded(uniform(4, 6)), shifted)["x"][0, 0, 0].tolist() == [-118, -108, -98]
    thirds = integers("int32", scale=(3.0,) * 3)
    assert prepare(encoded(uniform(4, 6)), thirds)["x"][0, 0, 0].tolist() == [3, 7, 10]


@pytest.mark.parametrize(
    ("dtype", "steps", "text"),
    [
        ("uint8", {"mean": (123.7,) * 3, "scale": (58.4,) * 3}, "from -2.1.* is uint8: 0 to 255"),
        ("int8", {}, "from 0 to 255, .* is int8: -128 to 127"),
        ("int8", {"mean": (123.7,) * 3, "scale": (58.4,) * 3}, "rounding leaves too few numbers"),
        ("uint8", {"mean": (1.0, 2.0)}, "mean has 2 numbers"),
        ("uint8", {"scale": (1.0, 0.0, 1.0)}, "scale is 0"),
        ("uint8", {"scale": (255.0,) * 3}, "rounding leaves too few numbers"),
        ("float16", {"scale": (0.001,) * 3}, "is float16: -6.55e"),
    ],
)
def test_numbers_that_the_input_does_not_hold_are_refused(dtype: str, steps: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        prepare(encoded(uniform(4, 6)), integers(dtype, **steps))


def test_several_inputs_come_as_a_map() -> None:
    arrays: dict[str, np.ndarray] = {"a": np.array([1, 2], np.float32), "b": np.array([3], np.int64)}
    document = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.tobytes()}
        for name, array in arrays.items()
    }
    tensors = prepare(msgpack.packb(document), PAIR)
    assert tensors["a"].tolist() == [1, 2]
    assert tensors["b"].tolist() == [3]
    del document["b"]
    with pytest.raises(BadInput, match="'b' is missing"):
        prepare(msgpack.packb(document), PAIR)


def damaged(whole: bytes, where: int, what: int) -> bytes:
    data = bytearray(whole)
    data[where % len(data)] = what
    return bytes(data)


LEADS = st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY", b"\x83"])
WHOLE = st.sampled_from([encoded(uniform(4, 6), "JPEG"), encoded(uniform(4, 6)), bytes(4 * 3 * 4 * 6)])


@given(
    st.builds(bytes.__add__, LEADS, st.binary(max_size=300))
    | st.builds(damaged, WHOLE, st.integers(0, 1000), st.integers(0, 255))
)
def test_any_bytes_are_an_input_or_refused(data: bytes) -> None:
    for described in (IMAGE, manifest(), PAIR):
        try:
            tensors = prepare(data, described)
        except BadInput:
            continue
        assert [tensors[spec.name].shape for spec in described.inputs] == [spec.shape for spec in described.inputs]


def test_a_tensor_that_is_declared_and_not_there_takes_no_memory() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (200000000000,)}\n"
    with pytest.raises(BadInput, match="0 bytes follow a header"):
        prepare(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header, manifest())


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(version: tuple[int, int]) -> None:
    npy = io.BytesIO()
    tensor = np.arange(72, dtype=np.float32).reshape(1, 3, 4, 6)
    np.lib.format.write_array(npy, tensor, version=version)
    assert np.array_equal(prepare(npy.getvalue(), manifest())["x"], tensor)


def test_an_image_that_a_centre_crop_would_blow_up_is_refused() -> None:
    with pytest.raises(BadInput, match="too long and narrow"):
        prepare(encoded(uniform(1, 400)), IMAGE, max_pixels=1000)


@pytest.mark.parametrize(("dtype", "shape"), [("float32", [float("inf")]), ("f4,(", [72]), ("float32", [1 << 63])])
def test_descriptions_that_numpy_stumbles_over_are_refused(dtype: str, shape: list[Any]) -> None:
    with pytest.raises(BadInput, match="does not decode"):
        prepare(msgpack.packb({"dtype": dtype, "shape": shape, "data": bytes(288)}), manifest())


def test_one_npy_is_not_enough_for_several_inputs() -> None:
    npy = io.BytesIO()
    np.save(npy, np.array([1, 2], np.float32))
    with pytest.raises(BadInput, match="a msgpack map from input names"):
        prepare(npy.getvalue(), PAIR)
