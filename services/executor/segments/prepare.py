"""Block 0 of a model: decodes the bytes of a request (a picture or a tensor) into the model's input tensors."""

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from PIL import Image

from services.executor.errors import BadInput
from services.executor.segments.pictures import FORMATS, MAX_PIXELS, is_picture
from services.executor.segments.pictures import decode_picture as _decode
from shared.messages.models import Manifest, Preprocessing, ResizeMode, TensorDescription, preprocessing_fault
from shared.model.casting import UnsafeCastError, cast_safely

_NUMPY_MAGIC = b"\x93NUMPY"


def prepare(data: bytes, manifest: Manifest, *, max_pixels: int = MAX_PIXELS) -> dict[str, np.ndarray]:
    """Decode a request's payload into the model's input tensors.

    The format is recognised by the first bytes and the size:

    - a picture (JPEG, PNG, WebP, BMP, TIFF, or the first frame of a GIF), if the manifest describes images;
    - NumPy's `.npy`;
    - the raw little-endian bytes of the only input;
    - a msgpack map `{"dtype", "shape", "data"}`, or a map from input names to such maps for several inputs.

    A tensor that states its shape must have the model's. Leading dimensions of 1 may be missing or added. A tensor that
    states its type may have another width, such as NumPy's usual float64 and int64, if its numbers fit the model's.

    Args:
        data: the request's bytes.
        manifest: inputs of the model and their preprocessing.
        max_pixels: largest image that is decoded.

    Returns:
        The inputs by name, in the manifest's shapes and types.

    Raises:
        BadInput: the payload has none of these formats, or not the model's shape; the text names what was expected.
    """
    if not data:
        raise BadInput("the request is empty")
    spec = manifest.inputs[0]
    if manifest.preprocessing.kind == "image" and is_picture(data):
        return {spec.name: _from_image(data, manifest.preprocessing, spec, max_pixels)}
    if data.startswith(_NUMPY_MAGIC) and len(manifest.inputs) == 1:
        return {spec.name: _fit(_read_npy(data, spec), spec)}
    if len(manifest.inputs) == 1 and len(data) == _size_bytes(spec):
        return {spec.name: np.frombuffer(data, dtype=np.dtype(spec.dtype)).reshape(spec.shape)}
    return _from_msgpack(data, manifest)


def _from_image(data: bytes, steps: Preprocessing, spec: TensorDescription, max_pixels: int) -> np.ndarray:
    fault = preprocessing_fault(steps, spec)
    if fault:
        raise BadInput(fault)
    image = _decode(data, max_pixels)
    resized = _resize(image, steps, max_pixels)
    pixels: np.ndarray = np.asarray(resized, dtype=np.float32)
    if steps.channel_order == "BGR":
        pixels = pixels[:, :, ::-1]
    pixels = (pixels - np.asarray(steps.mean, dtype=np.float32)) / np.asarray(steps.scale, dtype=np.float32)
    if steps.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    if math.prod(spec.shape) != pixels.size:
        raise BadInput(f"the model's input {spec.name!r} has shape {list(spec.shape)}, not one of an image in colour")
    dtype = np.dtype(spec.dtype)
    numbers = np.rint(pixels) if dtype.kind in "iu" else pixels
    return np.ascontiguousarray(numbers.reshape(spec.shape), dtype=dtype)


def _resize(image: Image.Image, steps: Preprocessing, max_pixels: int) -> Image.Image:
    """Resize `image` to the input's size, bilinearly with antialiasing, with the same pixels on every device.

    Raises:
        BadInput: the image is so long and narrow that scaling its short side exceeds the largest image.
    """
    target = (steps.width, steps.height)
    if steps.resize is ResizeMode.STRETCH:
        return image.resize(target, Image.Resampling.BILINEAR)
    scale = max(steps.width / image.width, steps.height / image.height) / steps.crop_fraction
    size = (max(steps.width, round(image.width * scale)), max(steps.height, round(image.height * scale)))
    if size[0] * size[1] > max_pixels:
        raise BadInput(f"an image of {image.width} x {image.height} pixels is too long and narrow for a centre crop")
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - steps.width) // 2, (size[1] - steps.height) // 2
    return resized.crop((left, top, left + steps.width, top + steps.height))


def _read_npy(data: bytes, spec: TensorDescription) -> np.ndarray:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        # NumPy allocates the declared size before it checks whether the data is there.
        if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
            raise ValueError(f"{len(data) - stream.tell()} bytes follow a header of {dtype} {list(shape)}"[:200])
        stream.seek(0)
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # NumPy raises ValueError, EOFError, SyntaxError and others for broken headers.
        raise BadInput(f"the input {spec.name!r} is a .npy tensor that does not decode: {error}") from error
    return array


def _from_msgpack(data: bytes, manifest: Manifest) -> dict[str, np.ndarray]:
    expected = _expectation(manifest)
    try:
        document = msgpack.unpackb(data)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise BadInput(f"{len(data)} bytes that are no input of {manifest.name}: expected {expected}") from error
    if not isinstance(document, dict):
        raise BadInput(f"no input of {manifest.name}: expected {expected}")
    if "data" in document and len(manifest.inputs) == 1:
        document = {manifest.inputs[0].name: document}
    missing = [spec.name for spec in manifest.inputs if spec.name not in document]
    if missing:
        raise BadInput(f"the input {missing[0]!r} is missing: expected {expected}")
    return {spec.name: _fit(_read_map(document[spec.name], spec), spec) for spec in manifest.inputs}


def _read_map(value: Any, spec: TensorDescription) -> np.ndarray:
    if not isinstance(value, dict) or not isinstance(value.get("data"), bytes):
        raise BadInput(f"the input {spec.name!r} is no map with dtype, shape and data")
    try:
        dtype = np.dtype(str(value.get("dtype", spec.dtype)))
        if dtype.hasobject:
            raise BadInput(f"the input {spec.name!r} has type {dtype}")
        return np.frombuffer(value["data"], dtype=dtype).reshape(_dimensions(value.get("shape", spec.shape)))
    except (TypeError, ValueError, OverflowError, SyntaxError) as error:
        raise BadInput(f"the input {spec.name!r} does not decode: {error}") from error


def _dimensions(shape: Any) -> Sequence[int]:
    return tuple(int(dimension) for dimension in shape)


def _fit(array: np.ndarray, spec: TensorDescription) -> np.ndarray:
    dtype = np.dtype(spec.dtype)
    given = f"the input {spec.name!r} is {array.dtype} {list(array.shape)}"
    if _without_leading_ones(array.shape) != _without_leading_ones(spec.shape):
        raise BadInput(f"{given}, the model takes {dtype} {list(spec.shape)}")
    try:
        return np.ascontiguousarray(cast_safely(array, dtype).reshape(spec.shape))
    except UnsafeCastError as error:
        raise BadInput(f"{given}, the model takes {dtype} {list(spec.shape)}: it holds {error}") from error


def _without_leading_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(itertools.dropwhile(lambda size: size == 1, shape))


def _size_bytes(spec: TensorDescription) -> int:
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def _expectation(manifest: Manifest) -> str:
    spec = manifest.inputs[0]
    tensor = f"a tensor {spec.dtype} {list(spec.shape)} of {_size_bytes(spec)} bytes"
    if len(manifest.inputs) > 1:
        return "a msgpack map from input names to {dtype, shape, data}"
    return f"a picture ({', '.join(FORMATS)}) or {tensor}" if manifest.preprocessing.kind == "image" else tensor
