"""Manifests of models, and the messages that offer, pull and carry their bytes."""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from shared.bus import topics
from shared.messages.base import MAX_MESSAGE_BYTES, Message, Part
from shared.messages.bounds import (
    MAX_BLOCKS,
    MAX_INTEGER,
    Cardinal,
    Estimate,
    Instant,
    Line,
    ModelId,
    Name,
    PositiveCardinal,
    Prose,
    Quantity,
    Word,
    at_most,
)
from shared.model.tensor import DType

_MAX_TENSORS: Final = 1024
_MAX_DOMAINS: Final = 64
_MAX_CHANNELS: Final = 4096
_MAX_LABELS: Final = 100_000
_MAX_PIECES: Final = 65_536
_SHA256_BYTES: Final = 32
_MAX_CUT_TENSORS: Final = 1024

# Integers between which a preprocessing of integer inputs has to distinguish. Numbers near 0 are meant for floats.
_MIN_INTEGERS: Final = 16
_CHANNELS: Final = 3


class TensorDescription(Part):
    """A model's input or output."""

    name: Word
    shape: Annotated[tuple[Annotated[int, Field(ge=-1, le=MAX_INTEGER)], ...], at_most(64)]
    dtype: Word


class ManifestRows(Part):
    """Rows of a block that can be split into tiles, as in problem files (`shared.model.tiles.block_rows`)."""

    output_rows: PositiveCardinal
    kernel: PositiveCardinal = 1
    """Rows of the input that one row of the output needs, in shares of 1 / `upsampling` of a row."""
    stride: PositiveCardinal = 1
    padding: Cardinal = 0
    upsampling: PositiveCardinal = 1


class OperatorSet(Part):
    """A domain of operators that a model uses, and the version in which it uses them."""

    domain: Word
    """Empty for ONNX's own operators."""
    version: Cardinal


class ManifestBlock(Part):
    """A block of the model, with the sizes that planning needs."""

    name: Line
    output_bytes: Quantity
    """Bytes of the cut after the block, without encoding."""
    flops: Quantity = 0
    parameter_bytes: Quantity = 0
    activation_bytes: Quantity = 0
    tileable: bool = False
    rows: ManifestRows | None = None
    """None for a block that cannot be tiled, and in manifests of earlier versions."""
    image_crosses: bool = False
    """Whether one image [batch, channels, rows, columns] and nothing else crosses the cut behind it. Stages of tiles
    begin and end at such cuts."""
    domains: Annotated[tuple[Word, ...], at_most(_MAX_DOMAINS)] = ()
    """Domains of its operators beside ONNX's own."""

    @property
    def working_bytes(self) -> int:
        """Largest activation while the block runs; the output's size if the manifest does not state it."""
        return self.activation_bytes or self.output_bytes


class ResizeMode(StrEnum):
    """Method of resizing a photograph to the input's size."""

    STRETCH = "stretch"
    """Resized to exactly the input's height and width."""
    CENTER_CROP = "center_crop"
    """The short side resized to `size / crop_fraction`, then the centre cut out."""


class Preprocessing(Part):
    """Conversion of a picture to the input tensor: (pixel - mean) / scale, per channel."""

    kind: Literal["image", "tensor"] = "tensor"
    height: Annotated[int, Field(ge=0, le=65_535)] = 0
    width: Annotated[int, Field(ge=0, le=65_535)] = 0
    resize: ResizeMode = ResizeMode.CENTER_CROP
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    channel_order: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    mean: Annotated[tuple[Estimate, ...], at_most(_MAX_CHANNELS)] = (0.0, 0.0, 0.0)
    scale: Annotated[tuple[Estimate, ...], at_most(_MAX_CHANNELS)] = (1.0, 1.0, 1.0)

    @property
    def channel_fault(self) -> str:
        """Why mean or scale do not suit the three channels of a picture; empty if they do."""
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if len(values) != _CHANNELS:
                return f"{name} has {len(values)} numbers, not one for each of red, green and blue"
        return "scale is 0 for a channel, but pixels are divided by it" if 0 in self.scale else ""

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Smallest and largest number of each channel, for pixels from 0 to 255."""
        ends = (
            ((0.0 - mean) / scale, (255.0 - mean) / scale) for mean, scale in zip(self.mean, self.scale, strict=True)
        )
        return tuple((min(pair), max(pair)) for pair in ends)


def preprocessing_fault(steps: Preprocessing, spec: TensorDescription) -> str:
    """Return why the numbers that a preprocessing makes of pixels do not suit an input's type; empty if they do."""
    if steps.channel_fault:
        return steps.channel_fault
    try:
        dtype = DType(spec.dtype)
    except ValueError:
        return f"the model's input {spec.name!r} has type {spec.dtype}, not one of pixels"
    low, high = min(low for low, _ in steps.ranges), max(high for _, high in steps.ranges)
    least, largest = dtype.value_range
    made = f"the preprocessing makes numbers from {low:.4g} to {high:.4g}"
    if low < least or high > largest:
        return f"{made}, but the model's input {spec.name!r} is {dtype.value}: {least:.4g} to {largest:.4g}"
    span = min(high - low for low, high in steps.ranges)
    if not dtype.is_float and span < _MIN_INTEGERS:
        return f"{made}, but the model's input {spec.name!r} is {dtype.value}: rounding leaves too few numbers"
    return ""


class OutputKind(StrEnum):
    """Meaning of a model's first output."""

    TENSOR = "tensor"
    CLASSIFICATION = "classification"


class FilePacking(Part):
    """Layout of a packed file: weights, then a graph that names their places. It is verified in pieces.

    A device needs the graph, and of the weights those of its blocks (docs/decisions/packed-models.md).
    """

    graph_start: Quantity
    """Position of the graph, which ends where the file does."""
    piece_bytes: Annotated[int, Field(ge=1024, le=MAX_INTEGER)]
    piece_sha256: Annotated[bytes, Field(min_length=_SHA256_BYTES, max_length=_SHA256_BYTES * _MAX_PIECES)]
    """The digests of the pieces, one behind the other. The last piece may be shorter than `piece_bytes`."""

    @property
    def digests(self) -> tuple[bytes, ...]:
        """The digest of each piece."""
        joined = self.piece_sha256
        return tuple(joined[start : start + _SHA256_BYTES] for start in range(0, len(joined), _SHA256_BYTES))

    @property
    def file_id(self) -> str:
        """Digest of the whole layout, and so of the file's bytes."""
        return hashlib.sha256(f"{self.graph_start} {self.piece_bytes} ".encode() + self.piece_sha256).hexdigest()


class Manifest(Message):
    """Description of a model: blocks, inputs, outputs and preprocessing (`models/{model}`, retained)."""

    TOPIC: ClassVar = topics.manifest

    model: ModelId
    name: Line
    size_bytes: Quantity
    inputs: Annotated[tuple[TensorDescription, ...], at_most(_MAX_TENSORS)]
    outputs: Annotated[tuple[TensorDescription, ...], at_most(_MAX_TENSORS)]
    blocks: Annotated[tuple[ManifestBlock, ...], at_most(MAX_BLOCKS, at_least=1)]
    """Block 0 is `prepare`; block k is block k-1 of the ONNX file."""
    preprocessing: Preprocessing = Preprocessing()
    output_kind: OutputKind = OutputKind.TENSOR
    apply_softmax: bool = False
    labels: Annotated[tuple[Line, ...], at_most(_MAX_LABELS)] = ()
    max_cut_tensors: Annotated[int, Field(ge=1, le=_MAX_CUT_TENSORS)] | None = 1
    """Largest number of tensors that cross a cut. None stands for as many as pay (`shared.model.cuts`)."""
    opsets: Annotated[tuple[OperatorSet, ...], at_most(_MAX_DOMAINS)] = ()
    """What the model needs of an engine; empty in manifests of earlier versions."""
    provider: Name = "planner"
    """The library from which the bytes are pulled."""
    packing: FilePacking | None = None
    """None for a file that devices fetch and read as a whole. `size_bytes` is that of the file in either case."""

    @model_validator(mode="after")
    def _is_covered_by_pieces(self) -> Self:
        packing = self.packing
        if packing is not None:
            count = -(-self.size_bytes // packing.piece_bytes)
            if len(packing.piece_sha256) != count * _SHA256_BYTES or packing.graph_start >= self.size_bytes:
                raise ValueError(f"the packing does not suit a file of {self.size_bytes} bytes")
        return self

    @property
    def file_id(self) -> str:
        """Identity of the file that is transferred: `model`, or the digest of a packed file."""
        return self.model if self.packing is None else self.packing.file_id

    def version(self) -> str:
        """Return a digest of all that determines results: the same for manifests that run alike."""
        return _digest(self, _BESIDE_RESULTS)

    def graph_version(self) -> str:
        """Return a digest of all that determines the time of blocks: the same for manifests with one profile."""
        return _digest(self, _BESIDE_GRAPH)


# Fields that do not change results, and fields that do not change the time of blocks.
_BESIDE_RESULTS: Final = frozenset({"schema_version", "name", "provider", "packing", "opsets"})
_BESIDE_GRAPH: Final = _BESIDE_RESULTS | {"preprocessing", "output_kind", "apply_softmax", "labels"}


# Digests with their manifests, by the manifests' identities. Executors ask for them several times per request, and the
# hash of a manifest, by which `functools.lru_cache` finds it, takes as long as a short segment.
_DIGESTS: dict[tuple[int, frozenset[str]], tuple[Manifest, str]] = {}
_MAX_DIGESTS: Final = 256


def _digest(manifest: Manifest, left_out: frozenset[str]) -> str:
    # The entry holds its manifest, so that no other one can have the same identity.
    known = _DIGESTS.get((id(manifest), left_out))
    if known is not None:
        return known[1]
    # Without defaults: a field that a later release adds does not change the digests of what is there. Rows, domains
    # and operator sets follow from the model, so that a manifest without them describes the same.
    derived = {"rows", "domains", "image_crosses"}
    exclude: dict[str, Any] = {name: True for name in left_out} | {"blocks": {"__all__": derived}}
    document = manifest.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
    if len(_DIGESTS) >= _MAX_DIGESTS:
        _DIGESTS.clear()
    _DIGESTS[id(manifest), left_out] = manifest, digest
    return digest


class ModelVersion(Message):
    """A version of a model's description in the library (`models/{model}/versions/{version}`, retained)."""

    TOPIC: ClassVar = topics.model_version

    model: ModelId
    version: Name
    """`Manifest.version` of the manifest, as the planner computes it."""
    number: PositiveCardinal
    """Counts the versions of a name."""
    added_at_s: Instant
    published_at_s: Instant = 0.0
    """When it was added last, or made the current one again. The latest of a name is the one that streams take."""
    manifest: Manifest

    @model_validator(mode="after")
    def _is_of_its_model(self) -> Self:
        if self.manifest.model != self.model:
            raise ValueError("the manifest is of another model")
        return self


class Offer(Message):
    """A publisher offers a model to the planner's library (`models/{model}/offer`)."""

    TOPIC: ClassVar = topics.offer

    manifest: Manifest
    provider: Name


class Pull(Message):
    """A receiver requests some of a model's bytes (`models/{model}/pulls/{provider}`)."""

    TOPIC: ClassVar = topics.pulls

    model: ModelId
    receiver: Name
    offset: Quantity
    length: Annotated[int, Field(gt=0, le=MAX_INTEGER)]


class ModelChunk(Message):
    """Some of a model's bytes (`models/{model}/chunks/{receiver}`)."""

    TOPIC: ClassVar = topics.model_chunks

    model: ModelId
    offset: Quantity
    crc32: Annotated[int, Field(ge=0, lt=2**32)]
    data: Annotated[bytes, Field(max_length=MAX_MESSAGE_BYTES)]
    error: Prose = ""
    """The provider's reason for a refusal; then `data` is empty."""
