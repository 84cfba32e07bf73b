"""Cost of the encodings of feature maps, and their effect on the model's answer."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from shared.bus import topics
from shared.messages.base import Message, ModelId, Name

_Share = Annotated[float, Field(ge=0, le=1)]
_NonNegative = Annotated[float, Field(ge=0)]
CodecName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_+-]{0,79}$")]


class CodecCalibration(Message):
    """One encoding of one block's output, measured over a calibration set."""

    codec: CodecName
    size_bytes: Annotated[int, Field(ge=0)]
    """Median bytes on the wire."""
    worst_size_bytes: Annotated[int, Field(ge=0)]
    """Largest bytes on the wire."""
    encode_ms: _NonNegative = 0.0
    """Median, one thread, on the device that measured: the device of speed 1."""
    decode_ms: _NonNegative = 0.0
    max_abs_error: _NonNegative = 0.0
    """Largest difference of any output value of the model from the run without encoding."""
    max_relative_error: _NonNegative = 0.0
    """Largest difference of an output value divided by the largest value of that output (absolute)."""
    top1_agreement: _Share | None = None
    """Share of the samples with the unencoded model's best class; none if the model is no classifier."""
    top5_agreement: _Share | None = None
    """Mean share of the unencoded model's five best classes that stay among the five best."""


class BlockCalibration(Message):
    """The encodings of a block's output."""

    block: Annotated[int, Field(ge=0)]
    """Block 0 is `prepare`; block k is block k-1 of the ONNX file."""
    raw_bytes: Annotated[int, Field(ge=0)]
    codecs: Annotated[tuple[CodecCalibration, ...], Field(max_length=256)] = ()


class ShadowReport(Message):
    """The effect of an encoding on the answer of one request in the field (`models/{model}/shadow`)."""

    TOPIC: ClassVar = topics.shadow

    device: Name
    model: ModelId
    stream: Name
    block: Annotated[int, Field(ge=0)]
    """The block whose output was encoded, counted as in `BlockCalibration`."""
    codec: CodecName
    max_abs_error: _NonNegative = 0.0
    max_relative_error: _NonNegative = 0.0
    top1_agreement: _Share | None = None
    """1 if the best class stayed the same, else 0; none if the model is no classifier."""
    top5_agreement: _Share | None = None
    measured_at_s: float = 0.0


class InputSize(Message):
    """Size of an input in an encoding that applications use."""

    encoding: CodecName
    """`jpeg75` (quality 75), `jpeg95`, `png`, ..."""
    size_bytes: Annotated[int, Field(ge=0)]
    """Median over the calibration set."""


class Calibration(Message):
    """The encodings of a model's feature maps (`models/{model}/calibration`, retained)."""

    TOPIC: ClassVar = topics.calibration

    model: ModelId
    blocks: Annotated[tuple[BlockCalibration, ...], Field(max_length=10_000)] = ()
    """The blocks whose output can be sent encoded. The output of the last block is the result, which is not encoded."""
    samples: Annotated[int, Field(ge=1)]
    """Number of inputs in the calibration set."""
    photographs: Annotated[int, Field(ge=0)] = 0
    """Number of photographs from which the inputs were cut."""
    input_sizes: tuple[InputSize, ...] = ()
    """The same inputs, before `prepare`."""
    device: str = ""
    """Description of the measuring device."""
    measured_at_s: float = 0.0
