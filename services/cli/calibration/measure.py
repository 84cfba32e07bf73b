"""Measurement of every codec on every feature map of a model over a calibration set."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.cli.calibration.samples import SampleSet
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings, SegmentSession, load_session
from shared.codecs import RAW, Array, CodecError, EncodedTensor, TensorSpec
from shared.codecs.encoding_effect import EncodingEffect, effect_on, is_classification, overall_effect
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.model.onnx_file import extract_segment
from shared.model.partitioned_model import PartitionedModel

Tensors = Mapping[str, Array]

# Receives the number of runs that are done and their total. Each sample runs once whole and once per block.
OnSample = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """Extent and conditions of the measurement.

    Attributes:
        engine: engine of the timed encodings, with one thread by default.
        threads: threads that run the model's segments to measure the effect of encodings.
        only_useful: skip a block if no encoding of its output is smaller than after every earlier block (virtual
            blocks, Duan & Wu 2021, section 3.2, extended to encodings).
        timed_samples: samples whose encoding is timed, and which decide which blocks are useful.
        repetitions: timings per timed sample; the median of all counts.
        pause_s: pause before each timing.
        scratch_bytes: memory that is written before each timing.
    """

    # In a fleet a codec runs after a segment has filled the caches, or after a pause. In a tight loop it takes a third
    # of that time. So each timing follows a pause and a write of `scratch_bytes`, which evicts the codec's data.

    engine: EngineSettings = field(default_factory=EngineSettings)
    threads: int = 1
    only_useful: bool = False
    timed_samples: int = 3
    repetitions: int = 3
    pause_s: float = 0.001
    scratch_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Timing:
    encode_ms: float
    decode_ms: float


def measure(
    model: PartitionedModel,
    samples: SampleSet,
    coder: Coder,
    settings: MeasureSettings,
    *,
    on_sample: OnSample | None = None,
) -> Calibration:
    """Measure every codec of `coder` after the block `prepare` and after every other block but the last.

    A codec that cannot carry the feature map of some sample is left out at that block: the map would travel raw.
    Memory holds the inputs and the outputs of all samples, and the feature maps of `timed_samples`.

    Raises:
        CannotPrepare: the engine refuses the model.
    """
    count = len(model.analysis.blocks)
    chosen = _useful_blocks(model, samples, coder, settings) if settings.only_useful else tuple(range(count))
    whole = _load(model, 0, count, settings)
    progress = _counter(on_sample, (1 + len(chosen)) * len(samples.inputs))
    reference = []
    for tensors in samples.inputs:
        reference.append(whole.run(tensors))
        progress()
    blocks = []
    for block in chosen:
        head = None if block == 0 else _load(model, 0, block, settings)
        tail = _load(model, block, count, settings)
        blocks.append(_measure_block(block, samples.inputs, reference, head, tail, coder, settings, progress))
    return Calibration(
        model=model.sha256,
        blocks=tuple(blocks),
        samples=len(samples.inputs),
        photographs=samples.photographs,
        input_sizes=samples.input_sizes,
    )


def _counter(on_sample: OnSample | None, total: int) -> Callable[[], None]:
    """Return a function that reports the number of its calls, out of `total`."""
    done = itertools.count(1)
    return lambda: None if on_sample is None else on_sample(next(done), total)


def _useful_blocks(
    model: PartitionedModel, samples: SampleSet, coder: Coder, settings: MeasureSettings
) -> tuple[int, ...]:
    """Return the blocks after which some codec takes fewer bytes than after every earlier block."""
    values: Sequence[Tensors] = samples.inputs[: settings.timed_samples]
    least: dict[str, float] = {}
    useful = []
    for block in range(len(model.analysis.blocks)):
        if block > 0:
            segment = _load(model, block - 1, block, settings)
            values = [segment.run(tensors) for tensors in values]
        sizes = _median_sizes(coder, values)
        if any(size < least.get(codec, size + 1) for codec, size in sizes.items()):
            useful.append(block)
        least |= {codec: min(size, least.get(codec, size)) for codec, size in sizes.items()}
    return tuple(useful)


def _median_sizes(coder: Coder, values: Sequence[Tensors]) -> dict[str, float]:
    sizes: dict[str, list[int]] = {}
    for tensors in values:
        for codec, encoded in _encodings(coder, tensors, tuple(coder.registry)):
            if encoded is not None:
                sizes.setdefault(codec, []).append(_size_bytes(encoded))
    return {codec: statistics.median(of_codec) for codec, of_codec in sizes.items()}


def _measure_block(
    block: int,
    inputs: Sequence[Tensors],
    reference: Sequence[Tensors],
    head: SegmentSession | None,
    tail: SegmentSession,
    coder: Coder,
    settings: MeasureSettings,
    progress: Callable[[], None],
) -> BlockCalibration:
    """Measure after one block. `head` computes its output from the inputs, `tail` the model's output from that."""
    sizes: dict[str, list[int]] = {codec: [] for codec in coder.registry}
    effects: dict[str, list[EncodingEffect]] = {}
    timed: list[Tensors] = []
    for tensors, plain in zip(inputs, reference, strict=True):
        value = tensors if head is None else head.run(tensors)
        if len(timed) < settings.timed_samples:
            timed.append(value)
        for codec, encoded in _encodings(coder, value, tuple(sizes)):
            if encoded is None:
                del sizes[codec]
                continue
            sizes[codec].append(_size_bytes(encoded))
            # Codecs of one distortion restore the same numbers, so the tail runs once for all of them.
            seen = effects.setdefault(coder.registry.distortion(codec), [])
            if len(seen) < len(sizes[codec]):
                seen.append(_effect(plain, value, encoded, tail, coder))
        progress()
    worst = {kind: overall_effect(seen) for kind, seen in effects.items()}
    return BlockCalibration(
        block=block,
        raw_bytes=sum(TensorSpec.of(tensor).size_bytes for tensor in timed[0].values()),
        codecs=tuple(
            _codec_calibration(
                codec, of_codec, _time(coder, timed, codec, settings), worst[coder.registry.distortion(codec)]
            )
            for codec, of_codec in sizes.items()
        ),
    )


def _encodings(
    coder: Coder, value: Tensors, codecs: Sequence[str]
) -> Iterator[tuple[str, dict[str, EncodedTensor] | None]]:
    """Yield the encoded tensors of a cut for every codec; None if the codec cannot carry them."""
    for codec in codecs:
        try:
            yield codec, _encode(coder, value, codec)
        except CodecError:
            yield codec, None


def _effect(
    plain: Tensors, value: Tensors, encoded: Mapping[str, EncodedTensor], tail: SegmentSession, coder: Coder
) -> EncodingEffect:
    """Return the difference between the output `plain` and the output from decoded tensors."""
    # A bit-exact encoding changes nothing, so the tail need not run.
    if all(coder.registry.distortion(tensor.codec) == RAW for tensor in encoded.values()):
        return EncodingEffect(top1_agreement=1.0, top5_agreement=1.0) if is_classification(plain) else EncodingEffect()
    return effect_on(plain, tail.run({**value, **_decode(coder, encoded)}))


def _size_bytes(encoded: Mapping[str, EncodedTensor]) -> int:
    return sum(tensor.size_bytes for tensor in encoded.values())


def _codec_calibration(codec: str, sizes: Sequence[int], timing: _Timing, effect: EncodingEffect) -> CodecCalibration:
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
            payloads = [(tensor, tensor.payload()) for tensor in _encode(coder, tensors, codec).values()]
            encode_s.append(time.perf_counter() - begun)
            _disturb(scratch, settings.pause_s)
            begun = time.perf_counter()
            for tensor, payload in payloads:
                coder.decode(codec, tensor.spec.dtype.name, tensor.spec.shape, payload)
            decode_s.append(time.perf_counter() - begun)
    return _Timing(_median_ms(encode_s), _median_ms(decode_s))


def _disturb(scratch: Array, pause_s: float) -> None:
    scratch += 1
    time.sleep(pause_s)


def _encode(coder: Coder, tensors: Tensors, codec: str) -> dict[str, EncodedTensor]:
    """Encode the tensors of a cut.

    Raises:
        CodecError: a tensor cannot be carried.
    """
    return {name: coder.encode(tensor, codec) for name, tensor in tensors.items()}


def _decode(coder: Coder, encoded: Mapping[str, EncodedTensor]) -> dict[str, Array]:
    return {
        name: coder.decode(tensor.codec, tensor.spec.dtype.name, tensor.spec.shape, tensor.payload())
        for name, tensor in encoded.items()
    }


def _load(model: PartitionedModel, start: int, stop: int, settings: MeasureSettings) -> SegmentSession:
    return load_session(extract_segment(model, start, stop), replace(settings.engine, threads=settings.threads))


def _median_ms(seconds: Iterable[float]) -> float:
    return statistics.median(seconds) * 1000
