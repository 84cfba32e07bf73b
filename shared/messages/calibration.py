"""Cost of the encodings of feature maps, and their effect on the model's answer."""

from typing import Annotated, ClassVar

from shared.bus import topics
from shared.messages.base import Message
from shared.messages.bounds import (
    MAX_BLOCKS,
    BlockIndex,
    Cardinal,
    CodecName,
    ErrorSize,
    Instant,
    Line,
    Milliseconds,
    ModelId,
    Name,
    PositiveCardinal,
    Quantity,
    Share,
    at_most,
)


class CodecCalibration(Message):
    """One encoding of one block's output, measured over a calibration set."""

    codec: CodecName
    size_bytes: Quantity
    """Median bytes on the wire."""
    worst_size_bytes: Quantity
    """Largest bytes on the wire."""
    encode_ms: Milliseconds = 0.0
    """Median, one thread, on the device that measured: the device of speed 1."""
    decode_ms: Milliseconds = 0.0
    max_abs_error: ErrorSize = 0.0
    """Largest difference of any output value of the model from the run without encoding."""
    max_relative_error: ErrorSize = 0.0
    """Largest difference of an output value divided by the largest value of that output (absolute)."""
    top1_agreement: Share | None = None
    """Share of the samples with the unencoded model's best class; none if the model is no classifier."""
    top5_agreement: Share | None = None
    """Mean share of the unencoded model's five best classes that stay among the five best."""


class BlockCalibration(Message):
    """The encodings of a block's output."""

    block: BlockIndex
    """Block 0 is `prepare`; block k is block k-1 of the ONNX file."""
    raw_bytes: Quantity
    codecs: Annotated[tuple[CodecCalibration, ...], at_most(256)] = ()


class ShadowReport(Message):
    """The effect of an encoding on the answer of one request in the field (`models/{model}/shadow`)."""

    TOPIC: ClassVar = topics.shadow

    device: Name
    model: ModelId
    stream: Name
    block: BlockIndex
    """The block whose output was encoded, counted as in `BlockCalibration`."""
    codec: CodecName
    max_abs_error: ErrorSize = 0.0
    max_relative_error: ErrorSize = 0.0
    top1_agreement: Share | None = None
    """1 if the best class stayed the same, else 0; none if the model is no classifier."""
    top5_agreement: Share | None = None
    measured_at_s: Instant = 0.0


class InputSize(Message):
    """Size of an input in an encoding that applications use."""

    encoding: CodecName
    """`jpeg75` (quality 75), `jpeg95`, `png`, ..."""
    size_bytes: Quantity
    """Median over the calibration set."""


class Calibration(Message):
    """The encodings of a model's feature maps (`models/{model}/calibration`, retained)."""

    TOPIC: ClassVar = topics.calibration

    model: ModelId
    blocks: Annotated[tuple[BlockCalibration, ...], at_most(MAX_BLOCKS)] = ()
    """The blocks whose output can be sent encoded. The output of the last block is the result, which is not encoded."""
    samples: PositiveCardinal
    """Number of inputs in the calibration set."""
    photographs: Cardinal = 0
    """Number of photographs from which the inputs were cut."""
    input_sizes: Annotated[tuple[InputSize, ...], at_most(256)] = ()
    """The same inputs, before `prepare`."""
    device: Line = ""
    """Description of the measuring device."""
    measured_at_s: Instant = 0.0
