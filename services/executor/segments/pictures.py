"""Recognition of picture files, and their pixels as 8-bit RGB."""

import io
import warnings
from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from services.executor.errors import BadInput

# Larger images are refused before they are decoded: a malicious file of a few kB decodes to gigabytes.
MAX_PIXELS: Final = 64_000_000

# Pillow's decoders of common formats. Others, such as EPS, run programs or are rarely tested.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

# Colour behind transparent pixels.
_BACKGROUND: Final = (255, 255, 255, 255)

_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Sizes of the second header of a BMP. Its magic number alone has 2 bytes, which begin some raw tensors too.
_BMP_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})

# What makes a picture upright, by the orientation in its EXIF data.
_TRANSPOSITIONS: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Tags of TIFF files.
_BITS_PER_SAMPLE: Final = 258
_PHOTOMETRIC: Final = 262
_WHITE_IS_ZERO: Final = 0


def is_picture(data: bytes) -> bool:
    """Return whether bytes begin like a picture in one of `FORMATS`."""
    if data.startswith(_MAGIC):
        return True
    if data.startswith(b"RIFF"):
        return data[8:12] == b"WEBP"
    return data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the first frame of a picture as 8-bit RGB, upright.

    Wider samples are scaled: the largest value of the file's type becomes 255. Transparent pixels are composed on
    white. The orientation in EXIF data is applied.

    Args:
        data: the bytes of the file.
        max_pixels: largest picture that is decoded.

    Raises:
        BadInput: the file is too large, does not decode, or has 32-bit samples, whose range it does not state.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images before it raises; the size is checked below.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > max_pixels:
                raise BadInput(f"the image has {width} x {height} pixels, more than the {max_pixels} that are decoded")
            image.load()
            transposition = _TRANSPOSITIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            pixels = _as_rgb(image)
            return pixels if transposition is None else pixels.transpose(transposition)
    except BadInput:
        raise
    except UnidentifiedImageError as error:
        raise BadInput("the image does not decode: it is damaged, or not what it begins like") from error
    except Exception as error:  # Pillow's decoders raise a dozen unrelated classes for broken files.
        raise BadInput(f"the image does not decode: {error or type(error).__name__}") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _scaled(image)
    if image.mode in ("I", "F"):
        raise BadInput(f"the picture has samples of mode {image.mode!r}, of unknown range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), colours).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Return a grey picture of up to 16 bits as 8-bit RGB."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    largest = 2**bits - 1
    samples = np.asarray(image).astype(np.int64).clip(0, largest)
    grey = ((samples * 255 + largest // 2) // largest).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[samples == transparent] = _BACKGROUND[0]
    return Image.fromarray(grey).convert("RGB")
