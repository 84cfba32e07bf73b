"""Runs a model block by block over the calibration set, and lets every codec carry every feature map."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.cli.calibration.samples import SampleSet
from services.executor.coding import Coder
from services.executor.engine import EngineSettings, Session, load_session
from shared.codecs import RAW, Array, CodecError, EncodedTensor, TensorSpec
from shared.codecs.effect import Effect, effect_on, is_classification, overall
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.model.model import Model
from shared.model.onnx_file import extract_segment

Tensors = Mapping[str, Array]
OnBlock = Callable[[int, int], None]
"""Is told the blocks that are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """How carefully to measure.

    Attributes:
        engine: how segments compute; times are of one thread unless it says otherwise.
        timed_samples: samples whose encoding is timed.
        repetitions: how often each of them is timed; medians count.
        pause_s: before each timing.
        scratch_bytes: memory that is written before each timing.

    In the field a codec runs after a segment has filled the caches, or after a pause; in a loop of its own it seems to
    take a third of that. So it is timed after a pause, with caches that hold something else.
    """

    engine: EngineSettings = field(default_factory=EngineSettings)
    timed_samples: int = 3
    repetitions: int = 3
    pause_s: float = 0.001
    scratch_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Timing:
    encode_ms: float
    decode_ms: float


def measure(
    model: Model, samples: SampleSet, coder: Coder, settings: MeasureSettings, *, on_block: OnBlock | None = None
) -> Calibration:
    """Measure every codec of `coder` behind every block but the last, and behind `prepare`.

    A codec that cannot carry a feature map of some sample is left out there: it would travel raw.

    Raises:
        CannotPrepare: the engine does not take the model.
    """
    count = len(model.analysis.blocks)
    values: Sequence[Tensors] = samples.inputs
    reference: Sequence[Tensors] = ()
    blocks = []
    for block in range(count):
        tail = _load(model, block, count, settings)
        reference = reference or [tail.run(tensors) for tensors in values]
        blocks.append(_measure_block(block, values, reference, tail, coder, settings))
        if on_block is not None:
            on_block(block + 1, count)
        if block + 1 < count:
            head = _load(model, block, block + 1, settings)
            values = [head.run(tensors) for tensors in values]
    return Calibration(
        model=model.sha256,
        blocks=tuple(blocks),
        samples=len(samples.inputs),
        photographs=samples.photographs,
        input_sizes=samples.input_sizes,
    )


def _measure_block(
    block: int,
    values: Sequence[Tensors],
    reference: Sequence[Tensors],
    tail: Session,
    coder: Coder,
    settings: MeasureSettings,
) -> BlockCalibration:
    raw_bytes = sum(TensorSpec.of(tensor).size_bytes for tensor in values[0].values())
    plain = Effect(top1_agreement=1.0, top5_agreement=1.0) if is_classification(reference[0]) else Effect()
    effects: dict[str, Effect] = {RAW: plain}
    measured = []
    for codec in coder.registry:
        kind = coder.registry.distortion(codec)
        try:
            encoded = [_encode(coder, tensors, codec) for tensors in values]
            if kind not in effects:
                outputs = (
                    tail.run({**tensors, **_decode(coder, each)}) for tensors, each in zip(values, encoded, strict=True)
                )
                effects[kind] = overall(map(effect_on, reference, outputs))
        except CodecError:
            continue
        sizes = [sum(tensor.size_bytes for tensor in each.values()) for each in encoded]
        timing = _time(coder, values, codec, settings)
        measured.append(_codec_calibration(codec, sizes, timing, effects[kind]))
    return BlockCalibration(block=block, raw_bytes=raw_bytes, codecs=tuple(measured))


def _codec_calibration(codec: str, sizes: Sequence[int], timing: _Timing, effect: Effect) -> CodecCalibration:
    return CodecCalibration(
        codec=codec,
        size_bytes=round(statistics.median(sizes)),
        worst_size_bytes=max(sizes),
        encode_ms=timing.encode_ms,
        decode_ms=timing.decode_ms,
        max_abs_error=effect.max_abs_error,
        max_relative_error=effect.max_relative_error,
        top1_agreement=effect.top1_agreement,
        top5_agreement=effect.top5_agreement,
    )


def _time(coder: Coder, values: Sequence[Tensors], codec: str, settings: MeasureSettings) -> _Timing:
    if codec == RAW:
        return _Timing(0.0, 0.0)
    encode_s, decode_s = [], []
    scratch = np.zeros(settings.scratch_bytes, np.uint8)
    for tensors in values[: settings.timed_samples]:
        for _ in range(settings.repetitions):
            _disturb(scratch, settings.pause_s)
            begun = time.perf_counter()
            payloads = {name: (each, each.payload()) for name, each in _encode(coder, tensors, codec).items()}
            encode_s.append(time.perf_counter() - begun)
            _disturb(scratch, settings.pause_s)
            begun = time.perf_counter()
            for each, payload in payloads.values():
                coder.decode(codec, each.spec.dtype.name, each.spec.shape, payload)
            decode_s.append(time.perf_counter() - begun)
    return _Timing(_median_ms(encode_s), _median_ms(decode_s))


def _disturb(scratch: Array, pause_s: float) -> None:
    scratch += 1
    time.sleep(pause_s)


def _encode(coder: Coder, tensors: Tensors, codec: str) -> dict[str, EncodedTensor]:
    """Encode what crosses a cut.

    Raises:
        CodecError: a tensor cannot be carried.
    """
    return {name: coder.encode(tensor, codec) for name, tensor in tensors.items()}


def _decode(coder: Coder, encoded: Mapping[str, EncodedTensor]) -> dict[str, Array]:
    return {
        name: coder.decode(each.codec, each.spec.dtype.name, each.spec.shape, each.payload())
        for name, each in encoded.items()
    }


def _load(model: Model, start: int, stop: int, settings: MeasureSettings) -> Session:
    return load_session(extract_segment(model, start, stop), settings.engine)


def _median_ms(seconds: Iterable[float]) -> float:
    return statistics.median(seconds) * 1000
