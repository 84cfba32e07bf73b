"""The calibration set: photographs and variants of them, or tensors, as inputs of a model."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from services.cli.support.request_files import NAMED_TENSORS, read_payload
from services.executor.errors import BadInput
from services.executor.segments.pictures import decode_picture
from services.executor.segments.prepare import prepare
from shared.codecs import Array
from shared.exit_status import InputError
from shared.messages.calibration import InputSize
from shared.messages.models import Manifest, Preprocessing
from shared.messages.requests import PICTURE_SUFFIXES

# Calibration set that ships with Segue.
SHIPPED_IMAGES: Final = Path(__file__).parents[1] / "data" / "calibration"

# Inputs per photograph: whole, mirrored, two closer crops, darker, brighter. They are correlated, so a calibration
# states the number of photographs beside the number of inputs.
MAX_VARIANTS: Final = 6

# Number of inputs that distinguishes an agreement of 99 % from one of 97 %.
SUFFICIENT_SAMPLES: Final = 100

_IMAGES: Final = PICTURE_SUFFIXES
_TENSORS: Final = (".npy",)
_NAMED_TENSORS: Final = (NAMED_TENSORS,)
_QUALITIES: Final = (75, 95)


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Inputs with which a model is calibrated.

    Attributes:
        inputs: the input tensors of every sample, by name.
        photographs: number of files that the inputs come from.
        skipped: faults of the files that are no input of the model, one text per file.
        input_sizes: median sizes of the same pictures as JPEG and PNG, in the model's height and width.
    """

    inputs: tuple[Mapping[str, Array], ...]
    photographs: int
    input_sizes: tuple[InputSize, ...] = ()
    skipped: tuple[str, ...] = ()


def read_samples(folder: Path, manifest: Manifest, *, variants: int | None = None) -> SampleSet:
    """Return the calibration set of a folder with photographs or tensors (.npy; .npz for several inputs).

    Args:
        folder: the folder.
        manifest: the description of the model.
        variants: inputs per photograph, 1 to `MAX_VARIANTS`; None for as many as give `SUFFICIENT_SAMPLES`. A tensor
            is one input.

    Raises:
        InputError: the folder has no such file, or none is an input of the model.
    """
    files = sample_files(folder, manifest)
    inputs: list[Mapping[str, Array]] = []
    per_file = variants or min(MAX_VARIANTS, -(-SUFFICIENT_SAMPLES // len(files)))
    skipped: list[str] = []
    for file in files:
        try:
            inputs.extend([prepare(payload, manifest) for payload in _payloads(file, per_file)])
        except (BadInput, InputError, OSError) as error:
            skipped.append(f"{file}: {error}")
    if not inputs:
        raise InputError("\n".join(skipped))
    sizes = _input_sizes(inputs, manifest.preprocessing) if manifest.preprocessing.kind == "image" else ()
    return SampleSet(tuple(inputs), len(files) - len(skipped), sizes, tuple(skipped))


def sample_files(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the photographs or the tensors in a folder, whichever the model takes, by name.

    Raises:
        InputError: the folder cannot be read or has none.
    """
    kind, suffixes = _sample_kind(manifest)
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error
    if not files:
        raise InputError(
            f"the model takes {kind}, and {folder} has none: give another folder, with {', '.join(suffixes)}"
        )
    return files


def calibration_images(manifest: Manifest, folder: Path | None, advice: str) -> Path:
    """Return the given calibration set, or by default the one that ships.

    Args:
        manifest: the description of the model.
        folder: the given set, if any.
        advice: how to give a folder; part of the error.

    Raises:
        InputError: no folder is given for a model of tensors, for which no set ships.
    """
    if folder is not None or manifest.preprocessing.kind == "image":
        return SHIPPED_IMAGES if folder is None else folder
    kind, suffixes = _sample_kind(manifest)
    raise InputError(f"the model takes {kind}: {advice} with {', '.join(suffixes)} files of them")


def _sample_kind(manifest: Manifest) -> tuple[str, Sequence[str]]:
    """Return the kind of files with which a model is calibrated, and their suffixes."""
    if manifest.preprocessing.kind == "image":
        return "photographs", _IMAGES
    return "tensors", _TENSORS if len(manifest.inputs) == 1 else _NAMED_TENSORS


def _payloads(file: Path, variants: int) -> Iterator[bytes]:
    if file.suffix.lower() not in _IMAGES:
        yield read_payload(file)
        return
    image = decode_picture(read_payload(file))
    for variant in _variants(image)[:variants]:
        yield _encode(variant, "PNG")


def _variants(image: Image.Image) -> Sequence[Image.Image]:
    width, height = image.size
    return (
        image,
        ImageOps.mirror(image),
        image.crop((width // 8, height // 8, width - width // 8, height - height // 8)),
        image.crop((0, 0, width * 3 // 4, height * 3 // 4)),
        ImageEnhance.Brightness(image).enhance(0.7),
        ImageEnhance.Brightness(image).enhance(1.3),
    )


def _input_sizes(inputs: Sequence[Mapping[str, Array]], steps: Preprocessing) -> tuple[InputSize, ...]:
    pictures = [_picture(next(iter(tensors.values())), steps) for tensors in inputs]
    sizes = {
        f"jpeg{quality}": [len(_encode(picture, "JPEG", quality=quality)) for picture in pictures]
        for quality in _QUALITIES
    }
    sizes["png"] = [len(_encode(picture, "PNG")) for picture in pictures]
    return tuple(InputSize(encoding=name, size_bytes=round(float(np.median(of_all)))) for name, of_all in sizes.items())


def _picture(tensor: Array, steps: Preprocessing) -> Image.Image:
    """Return the picture in an input tensor: the inverse of the arithmetic of `prepare`."""
    pixels = tensor[0] if steps.layout == "NHWC" else tensor[0].transpose(1, 2, 0)
    pixels = pixels * np.asarray(steps.scale, np.float32) + np.asarray(steps.mean, np.float32)
    if steps.channel_order == "BGR":
        pixels = pixels[:, :, ::-1]
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
