"""The same picture in every format, mode and orientation has the same pixels."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from services.executor.errors import BadInput
from services.executor.segments.pictures import decode_picture, is_picture

Y, X = np.mgrid[0:24, 0:32]
GREY = (127 + 120 * np.sin(X / 5) * np.cos(Y / 7)).astype(np.uint8)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], -1)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_picture(data))


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("GIF", {})]
)
def test_every_format_is_read(form: str, options: dict[str, Any]) -> None:
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    data = encoded(Image.fromarray(GREY), form, **options)
    assert is_picture(data)
    assert np.array_equal(pixels(data), grey)


@pytest.mark.parametrize("data", [b"", b"BM" + bytes(60), b"RIFF....WAVE", b"\x93NUMPY", bytes(100)])
def test_other_bytes_are_no_picture(data: bytes) -> None:
    assert not is_picture(data)


def test_the_first_frame_of_several_is_read() -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    for form in ("GIF", "TIFF"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert np.array_equal(pixels(data)[:, :, 0], GREY)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(form: str) -> None:
    wide = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert np.array_equal(pixels(encoded(wide, form))[:, :, 0], GREY)
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(ramp / 257).astype(np.uint8)
    assert np.array_equal(pixels(encoded(Image.fromarray(ramp), form))[:, :, 0], expected)


def test_sixteen_bits_in_the_other_order_of_bytes() -> None:
    image = Image.frombytes("I;16B", (32, 24), (GREY.astype(">u2") * 257).tobytes())
    assert np.array_equal(pixels(encoded(image, "TIFF"))[:, :, 0], GREY)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_of_unknown_range_are_refused(mode: str) -> None:
    with pytest.raises(BadInput, match="of unknown range"):
        pixels(encoded(Image.new(mode, (4, 4)), "TIFF"))


def test_where_zero_is_white_the_samples_are_inverted() -> None:
    data = encoded(Image.fromarray(65535 - GREY.astype(np.uint16) * 257), "TIFF")
    # The entry of tag 262 (photometric interpretation), one short of value 1: black is zero.
    entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"
    assert data.count(entry + b"\x01") == 1
    assert np.array_equal(pixels(data.replace(entry + b"\x01", entry + b"\x00"))[:, :, 0], GREY)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("hidden", [0, 255, 90])
def test_transparent_pixels_are_white_whatever_colour_they_hide(form: str, hidden: int) -> None:
    alpha = np.zeros_like(GREY)
    alpha[6:18, 8:24] = 255
    visible = alpha[:, :, None] > 0
    image = Image.fromarray(np.dstack([np.where(visible, RGB, hidden).astype(np.uint8), alpha]))
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    assert np.array_equal(pixels(encoded(image, form, **options)), np.where(visible, RGB, 255))


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    image = Image.new("RGBA", (2, 2), (0, 100, 200, 128))
    assert pixels(encoded(image, "PNG"))[0, 0].tolist() == pytest.approx([127, 177, 227], abs=1)


def test_a_transparent_colour_is_white() -> None:
    palette = Image.fromarray(RGB).quantize(8)
    index = np.asarray(palette)
    whole, holed = pixels(encoded(palette, "PNG")), pixels(encoded(palette, "PNG", transparency=3))
    assert np.array_equal(holed, np.where((index == 3)[:, :, None], 255, whole))
    key = int(GREY[0, 0])
    is_key = np.equal(GREY, key)
    keyed = pixels(encoded(Image.fromarray(GREY), "PNG", transparency=key))
    assert np.array_equal(keyed[:, :, 0], np.where(is_key, 255, GREY))
    wide = Image.fromarray(GREY.astype(np.uint16) * 257)
    keyed = pixels(encoded(wide, "PNG", transparency=key * 257))
    assert np.array_equal(keyed[:, :, 0], np.where(is_key, 255, GREY))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(form: str, orientation: int) -> None:
    stored = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif, **options)
    assert np.array_equal(pixels(data), RGB)


def test_a_wide_picture_is_turned_too() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    wide = Image.fromarray(np.ascontiguousarray(np.rot90(GREY)).astype(np.uint16) * 257)
    assert np.array_equal(pixels(encoded(wide, "PNG", exif=exif))[:, :, 0], GREY)
