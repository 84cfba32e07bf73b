"""From an ONNX file to the manifest that describes it to the fleet."""

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.cli.support.config_files import parse, read_json, read_text, read_toml
from shared.messages.base import describe
from shared.messages.models import (
    Manifest,
    ManifestBlock,
    OutputKind,
    Preprocessing,
    TensorDescription,
)
from shared.model.analysis import ModelAnalysis
from shared.model.errors import ExternalDataError, ModelError, ModelFileError
from shared.service_runtime import InputError

PREPARE_BLOCK = "prepare"


class Preset(StrEnum):
    """Usual ways from the pixels of a photograph, 0 to 255, to numbers."""

    IMAGENET = "imagenet"
    """RGB, less the mean of ImageNet, divided by its standard deviation: what torchvision's models expect."""
    UNIT = "unit"
    """RGB, from 0 to 1."""
    RAW = "raw"
    """RGB, from 0 to 255."""
    TENSOR = "tensor"
    """No photographs: requests are tensors."""


_SCALES: dict[Preset, tuple[tuple[float, ...], tuple[float, ...]]] = {
    Preset.IMAGENET: ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    Preset.UNIT: ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    Preset.RAW: ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def build_manifest(
    file: Path,
    *,
    name: str = "",
    labels: Path | None = None,
    preprocessing: Preprocessing | Preset | None = None,
    output: OutputKind | None = None,
    softmax: bool = False,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Manifest:
    """Analyse an ONNX file and describe it.

    Args:
        file: the ONNX file.
        name: alias of the model; the file's name without its ending if empty.
        labels: file with the class names, a JSON list or one per line.
        preprocessing: from a photograph to the input; a height and width of 0 are read off the model's input. None
            for `Preset.IMAGENET` where the input looks like an image in colour, and `Preset.TENSOR` elsewhere.
        output: what the first output means; None for a classification if there is a label for every number of it.
        softmax: the first output are logits.
        input_shapes: of inputs whose shape the file leaves open.

    Raises:
        ModelError: the file is no model that Segue can cut.
        InputError: labels or preprocessing do not fit the model.
    """
    analysis = _analyse(file, input_shapes)
    inputs = tuple(TensorDescription(name=t.name, shape=t.shape, dtype=t.dtype.value) for t in analysis.input)
    outputs = tuple(TensorDescription(name=t.name, shape=t.shape, dtype=t.dtype.value) for t in analysis.outputs)
    names = () if labels is None else read_labels(labels)
    if names and math.prod(outputs[0].shape) != len(names):
        raise InputError(
            f"{labels} has {len(names)} labels, but output {outputs[0].name!r} is {list(outputs[0].shape)}"
        )
    prepare = ManifestBlock(
        name=PREPARE_BLOCK, output_bytes=analysis.input_bytes, activation_bytes=analysis.input_bytes
    )
    blocks = (
        ManifestBlock(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.peak_activation_bytes,
            tileable=block.tileable,
        )
        for block in analysis.blocks
    )
    return Manifest(
        model=analysis.sha256,
        name=name or file.stem,
        size_bytes=file.stat().st_size,
        inputs=inputs,
        outputs=outputs,
        blocks=(prepare, *blocks),
        preprocessing=fit_preprocessing(preprocessing, inputs),
        output_kind=output or (OutputKind.CLASSIFICATION if names else OutputKind.TENSOR),
        apply_softmax=softmax,
        labels=names,
    )


def _analyse(file: Path, input_shapes: Mapping[str, tuple[int, ...]] | None) -> ModelAnalysis:
    """Analyse the bytes of the file alone: they are what the fleet gets. Errors name the file."""
    from shared.model.onnx_file import load_model

    try:
        return load_model(file.read_bytes(), input_shapes=input_shapes).analysis
    except OSError as error:
        raise ModelFileError(f"cannot read {file}: {error.strerror}") from error
    except ExternalDataError as error:
        raise ExternalDataError(f"{file} keeps weights in other files: save the model in one file") from error
    except ModelError as error:
        raise type(error)(f"{file}: {error}") from error


def fit_preprocessing(wish: Preprocessing | Preset | None, inputs: Sequence[TensorDescription]) -> Preprocessing:
    """Complete what the user wants with what the model's input says.

    Raises:
        InputError: photographs are wanted, and the model does not take one image in colour.
    """
    layout = _image_layout(inputs)
    if wish is None:
        wish = Preset.TENSOR if layout is None else Preset.IMAGENET
    if wish is Preset.TENSOR or (isinstance(wish, Preprocessing) and wish.kind == "tensor"):
        return Preprocessing()
    if layout is None:
        shapes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise InputError(f"the model does not take one image in colour ({shapes}): use the preprocessing `tensor`")
    name, height, width = layout
    if isinstance(wish, Preset):
        mean, scale = _SCALES[wish]
        return Preprocessing(kind="image", height=height, width=width, layout=name, mean=mean, scale=scale)
    size = (wish.height or height, wish.width or width)
    if size != (height, width):
        raise InputError(f"the preprocessing makes {size[0]} x {size[1]} pixels, the model takes {height} x {width}")
    return wish.model_copy(update={"height": height, "width": width, "layout": name})


def read_preprocessing(text: str) -> Preprocessing | Preset:
    """Read the name of a preset, or a JSON or TOML file with the fields of `Preprocessing`.

    Raises:
        InputError: it is neither.
    """
    if text in list(Preset):
        return Preset(text)
    path = Path(text)
    if not path.is_file():
        raise InputError(f"preprocessing {text!r} is neither a file nor one of {', '.join(Preset)}")
    document = read_toml(path) if path.suffix == ".toml" else read_json(path)
    try:
        return parse_preprocessing(document)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def parse_preprocessing(document: Any) -> Preprocessing:
    """Check a user's preprocessing; unlike on the bus, an unknown field is a fault.

    Raises:
        ValueError: with the reason; `pydantic.ValidationError` is one.
    """
    if not isinstance(document, dict):
        raise ValueError("a preprocessing is a table of fields")
    unknown = [key for key in document if key not in Preprocessing.model_fields or key == "schema_version"]
    if unknown:
        known = ", ".join(key for key in Preprocessing.model_fields if key != "schema_version")
        raise ValueError(f"unknown field {unknown[0]!r}; known are {known}")
    return Preprocessing.model_validate({"kind": "image"} | document)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names, in order: a JSON list, or one per line.

    Raises:
        InputError: the file cannot be read, or its JSON is no list of texts.
    """
    text = read_text(path)
    if not text.lstrip().startswith("["):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    labels = parse(text, json.loads, f"the labels in {path} are not JSON")
    if not all(isinstance(label, str) for label in labels):
        raise InputError(f"{path} is no list of texts")
    return tuple(labels)


def _image_layout(inputs: Sequence[TensorDescription]) -> tuple[str, int, int] | None:
    """Return layout, height and width of the one input that is one image in colour; None if there is none."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1:
        return None
    _, first, second, last = inputs[0].shape
    if first == 3:
        return "NCHW", second, last
    return ("NHWC", first, second) if last == 3 else None


__all__ = [
    "PREPARE_BLOCK",
    "Preset",
    "build_manifest",
    "fit_preprocessing",
    "parse_preprocessing",
    "read_labels",
    "read_preprocessing",
]
