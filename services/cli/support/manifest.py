"""Manifests of ONNX files: the description of a model that the fleet gets."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.cli.support.config_files import read_json, read_toml
from services.cli.support.label_files import labels_in_metadata, read_labels
from shared.exit_status import InputError
from shared.messages.base import describe_faults
from shared.messages.models import (
    Manifest,
    ManifestBlock,
    ManifestRows,
    OperatorSet,
    OutputKind,
    Preprocessing,
    TensorDescription,
    preprocessing_fault,
)
from shared.model.adaptation import Adaptation
from shared.model.analysis import ModelAnalysis
from shared.model.errors import ModelError
from shared.model.partitioned_model import PartitionedModel
from shared.model.tensor import DType, Tensor

# Name of block 0, which turns the payload of a request into the model's input tensors.
PREPARE_BLOCK = "prepare"
# Images are [batch, channels, rows, columns].
_IMAGE_RANK, _ROW_AXIS = 4, 2


class Preset(StrEnum):
    """Named preprocessings of a photograph's pixels, which are 0 to 255."""

    IMAGENET = "imagenet"
    """RGB minus the mean of ImageNet, divided by its standard deviation, as torchvision's models expect."""
    UNIT = "unit"
    """RGB, from 0 to 1."""
    RAW = "raw"
    """RGB, from 0 to 255."""
    TENSOR = "tensor"
    """Requests are tensors, not photographs."""


# Mean and scale per channel: (pixel - mean) / scale. Those of ImageNet are its usual figures times 255.
_SCALES: dict[Preset, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    Preset.IMAGENET: ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    Preset.UNIT: ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    Preset.RAW: ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def build_manifest(
    file: Path,
    *,
    model: PartitionedModel | None = None,
    name: str = "",
    labels: Path | None = None,
    preprocessing: Preprocessing | Preset | None = None,
    output: OutputKind | None = None,
    softmax: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> Manifest:
    """Return the manifest of an ONNX file.

    Args:
        file: the ONNX file.
        model: its content, if it was read before.
        name: alias of the model; the file's name without its ending if empty.
        labels: file with the class names (see `read_labels`). None means those in the file's metadata, if their number
            is that of the classes.
        preprocessing: from a photograph to the input; a height and width of 0 are taken from the model's input. None
            means `Preset.IMAGENET` if the input looks like an image in colour, `Preset.RAW` if it is one of integers
            that hold 0 to 255, else `Preset.TENSOR`.
        output: meaning of the first output; None means a classification if there are labels, else a tensor.
        softmax: whether the first output are logits.
        on_note: receives what the owner of the model should know.

    Raises:
        ModelError: Segue cannot cut the model.
        InputError: labels or preprocessing do not fit the model.
    """
    content = model or read_model(file)
    analysis = content.analysis
    with _faults_of(file):
        inputs = tuple(map(_describe_tensor, analysis.input))
        outputs = tuple(map(_describe_tensor, analysis.outputs))
    count = math.prod(outputs[0].shape)
    names, note = labels_in_metadata(content.metadata, count) if labels is None else (read_labels(labels, count), "")
    if note and on_note is not None:
        on_note(note)
    if names and count != len(names):
        raise InputError(
            f"{labels} has {len(names)} labels, but output {outputs[0].name!r} is {list(outputs[0].shape)}"
        )
    with _faults_of(file):
        return Manifest(
            model=analysis.sha256,
            name=name or file.stem,
            size_bytes=file.stat().st_size,
            inputs=inputs,
            outputs=outputs,
            blocks=tuple(_blocks(analysis)),
            preprocessing=fit_preprocessing(preprocessing, inputs),
            output_kind=output or (OutputKind.CLASSIFICATION if names else OutputKind.TENSOR),
            apply_softmax=softmax,
            labels=names,
            max_cut_tensors=content.max_cut_tensors,
            opsets=tuple(_opsets(content)),
        )


@contextmanager
def _faults_of(file: Path) -> Iterator[None]:
    """Report what of a model no manifest can hold, such as the name of an input with control characters."""
    try:
        yield
    except ValidationError as error:
        raise ModelError(f"{file}: a fleet cannot describe the model: {describe_faults(error)}") from None


def read_model(
    file: Path, adaptation: Adaptation | None = None, max_cut_tensors: int | None = None
) -> PartitionedModel:
    """Return the model in a file. Errors name the file.

    Args:
        file: the ONNX file.
        adaptation: the user's choices where the file leaves something open.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay.

    Raises:
        ModelError: Segue cannot read or cut the model.
    """
    from shared.model.onnx_file import load_model

    try:
        return load_model(file, adaptation=adaptation, max_cut_tensors=max_cut_tensors)
    except ModelError as error:
        raise type(error)(f"{file}: {error}") from error


def _describe_tensor(tensor: Tensor) -> TensorDescription:
    return TensorDescription(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype.value)


def _opsets(content: PartitionedModel) -> Iterator[OperatorSet]:
    """Yield the domains that the model uses, which may be fewer than its file imports."""
    used = {"", *(domain for block in content.analysis.blocks for domain in block.domains)}
    for domain, version in sorted(content.graph.opsets.items()):
        if domain in used:
            yield OperatorSet(domain=domain, version=version)


def _blocks(analysis: ModelAnalysis) -> Iterator[ManifestBlock]:
    yield ManifestBlock(
        name=PREPARE_BLOCK,
        output_bytes=analysis.input_bytes,
        activation_bytes=analysis.input_bytes,
        image_crosses=_is_image(analysis.input),
    )
    crossing = [*(cut.tensors for cut in analysis.cuts), analysis.outputs]
    for block, tensors in zip(analysis.blocks, crossing, strict=True):
        yield ManifestBlock(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.peak_activation_bytes,
            tileable=block.tileable,
            domains=block.domains,
            rows=None if block.rows is None else ManifestRows(**asdict(block.rows)),
            image_crosses=_is_image(tensors),
        )


def _is_image(tensors: Sequence[Tensor]) -> bool:
    """Return whether the tensors are one image with several rows, [batch, channels, rows, columns]."""
    return len(tensors) == 1 and len(tensors[0].shape) == _IMAGE_RANK and tensors[0].shape[_ROW_AXIS] > 1


def fit_preprocessing(chosen: Preprocessing | Preset | None, inputs: Sequence[TensorDescription]) -> Preprocessing:
    """Return the preprocessing that the user chose, completed with size and layout of the model's input.

    Raises:
        InputError: photographs are chosen, and the input is not one image in colour of the chosen size. Or its type
            does not hold the numbers that the preprocessing makes.
    """
    layout = _image_layout(inputs)
    if chosen is None:
        chosen = Preset.TENSOR if layout is None else _default_preset(inputs[0])
    if chosen is Preset.TENSOR or (isinstance(chosen, Preprocessing) and chosen.kind == "tensor"):
        return Preprocessing()
    if layout is None:
        shapes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise InputError(f"the model does not take one image in colour ({shapes}): use the preprocessing `tensor`")
    name, height, width = layout
    if isinstance(chosen, Preset):
        mean, scale = _SCALES[chosen]
        chosen = Preprocessing(kind="image", mean=mean, scale=scale)
    size = (chosen.height or height, chosen.width or width)
    if size != (height, width):
        raise InputError(f"the preprocessing makes {size[0]} x {size[1]} pixels, the model takes {height} x {width}")
    if fault := preprocessing_fault(chosen, inputs[0]):
        raise InputError(fault)
    return chosen.model_copy(update={"height": height, "width": width, "layout": name})


def _default_preset(spec: TensorDescription) -> Preset:
    """Return the preset of an image input: integers take pixels as they are, if they can hold them."""
    if DType(spec.dtype).is_float:
        return Preset.IMAGENET
    raw = Preprocessing(kind="image")
    return Preset.TENSOR if preprocessing_fault(raw, spec) else Preset.RAW


def read_preprocessing(text: str) -> Preprocessing | Preset:
    """Return the preset of a name, or the preprocessing in a JSON or TOML file.

    Raises:
        InputError: the text is neither a preset nor a valid file.
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
        raise InputError(f"{path}: {describe_faults(error)}") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def parse_preprocessing(document: Any) -> Preprocessing:
    """Return the preprocessing in a user's table of fields. Unlike on the bus, an unknown field is a fault.

    Raises:
        ValueError: the table is invalid. `pydantic.ValidationError` is a subclass.
    """
    if not isinstance(document, dict):
        raise ValueError("a preprocessing is a table of fields")
    # Messages ignore unknown fields, so that versions can differ. In a user's file they are spelling mistakes.
    unknown = [key for key in document if key not in Preprocessing.model_fields or key == "schema_version"]
    if unknown:
        known = ", ".join(key for key in Preprocessing.model_fields if key != "schema_version")
        raise ValueError(f"unknown field {unknown[0]!r}; known are {known}")
    steps = Preprocessing.model_validate({"kind": "image"} | document)
    if steps.channel_fault:
        raise ValueError(steps.channel_fault)
    return steps


def _image_layout(inputs: Sequence[TensorDescription]) -> tuple[str, int, int] | None:
    """Return layout, height and width of the input if it is one image in colour; else None."""
    # One 4-dimensional input with a batch of 1 and three channels, first or last, counts as an image in colour.
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1:
        return None
    _, first, second, last = inputs[0].shape
    if first == 3:
        return "NCHW", second, last
    return ("NHWC", first, second) if last == 3 else None
