"""Time saved by encoding inside a segment's graph instead of outside it, in milliseconds per sent frame.

    python -m benchmarks.fused_encoding [--quick] [--out FILE] [--models DIR] [--only NAME] [--seconds S]

The work of a sender from frame in to frame out is measured at the cuts that are smaller than all earlier ones. The two
ways take turns, each after a pause and with other data in the caches, and must produce the same bytes. Reported is the
median of the differences of all pairs. Its interval contains the true median with a confidence of 95 % (order
statistics).
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.encodings import DATA, subjects
from benchmarks.report import argument_parser, write
from services.cli.calibration import read_samples
from services.cli.support.manifest import build_manifest
from services.executor.feature_maps import decode_feature_map, encode_feature_map, encode_tensors
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.segments.fusion import representation_of
from services.executor.segments.segment import REQUEST_TENSOR, Segment, build_segments
from services.executor.segments.segment_events import SegmentKey
from services.executor.stage_runner import StageJob
from shared.codecs import RAW, Array, Buffer, load_registry
from shared.messages.models import Manifest
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage

CODECS: Final = ("float16", "uint8", "uint8+zstd", "sparse8+zstd", "uint4")
ENGINE: Final = EngineSettings()
LEAST_PAIRS, MOST_PAIRS = 15, 150
# Larger than the caches: writing it evicts everything else.
SCRATCH_BYTES: Final = 16 * 1024 * 1024
PAUSE_S: Final = 0.001
QUICK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class FusionRow:
    """One cut and encoding; times in milliseconds from frame in to frame out.

    Attributes:
        saved_ms: median of outside less inside, over all pairs.
        saved_low_ms: lower end of its 95 % interval.
        saved_high_ms: upper end of it.
    """

    model: str
    cut: int
    raw_bytes: int
    codec: str
    outside_ms: float
    inside_ms: float
    saved_ms: float
    saved_low_ms: float
    saved_high_ms: float
    pairs: int


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("fused_encoding", __doc__, quick="only SqueezeNet 1.1, 0.2 s per cut and encoding")
    parser.add_argument("--models", type=Path, help="folder with efficientnet_lite0.onnx")
    parser.add_argument("--only", action="append", help="name of a model; may be repeated")
    parser.add_argument("--seconds", type=float, default=1.5, help="per cut and encoding (default: %(default)s)")
    options = parser.parse_args()
    seconds = QUICK_SECONDS if options.quick else options.seconds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for subject in subjects(options.models, Path(folder), quick=options.quick):
            if options.only and subject.name not in options.only:
                continue
            manifest = build_manifest(subject.file, preprocessing=subject.preprocessing)
            samples = read_samples(DATA / "photos", manifest, variants=1)
            request = np.frombuffer(b"".join(values.tobytes() for values in samples.inputs[0].values()), np.uint8)
            for cut in useful_cuts(manifest):
                for row in measure_cut(subject.name, subject.file, manifest, cut, request, seconds):
                    rows.append(row)
                    print(line(row), flush=True)
    write(options.out, {"rows": [asdict(row) for row in rows]})


def useful_cuts(manifest: Manifest) -> Iterator[int]:
    """Yield the cuts that are smaller than all earlier ones, except those after `prepare` and before the last block."""
    least = 1 << 62
    for index, block in enumerate(manifest.blocks[1:-1], start=1):
        if block.output_bytes < least:
            least = block.output_bytes
            yield index + 1


def measure_cut(
    name: str, file: Path, manifest: Manifest, cut: int, request: Array, seconds: float
) -> Iterator[FusionRow]:
    """Measure every encoding behind blocks `[0, cut)`."""
    coder = Coder(load_registry(), ENGINE)
    plain_key = SegmentKey(manifest.model, 0, cut)
    for codec in CODECS:
        keys = (plain_key, SegmentKey(manifest.model, 0, cut, representation_of(codec)))
        plain, fused = build_segments(file, manifest, keys, ENGINE).values()
        header = header_of(manifest, cut, codec)
        pieces = encode_feature_map(header, encode_tensors({REQUEST_TENSOR: request}, RAW, coder))
        frame = joined(pieces)
        outside, inside = (sender(segment, header, frame, coder) for segment in (plain, fused))
        if joined(outside()) != joined(inside()):
            raise AssertionError(f"{name}, cut {cut}, {codec}: the bytes differ")
        pairs = take_turns(outside, inside, seconds)
        saved = sorted(first - second for first, second in pairs)
        # Ranks n / 2 -+ 0.98 sqrt(n): the normal approximation of the binomial distribution, 1.96 standard deviations.
        reach = 0.98 * len(saved) ** 0.5
        yield FusionRow(
            model=name,
            cut=cut,
            raw_bytes=manifest.blocks[cut - 1].output_bytes,
            codec=codec,
            outside_ms=statistics.median(first for first, _ in pairs),
            inside_ms=statistics.median(second for _, second in pairs),
            saved_ms=statistics.median(saved),
            saved_low_ms=saved[max(0, int(len(saved) / 2 - reach))],
            saved_high_ms=saved[min(len(saved) - 1, int(len(saved) / 2 + reach))],
            pairs=len(pairs),
        )


def header_of(manifest: Manifest, cut: int, codec: str) -> FeatureMapHeader:
    """Return the header of a request with the measured segment as its first stage."""
    stages = (
        PlanStage(start=0, stop=cut, device="a", codec=codec),
        PlanStage(start=cut, stop=len(manifest.blocks), device="b"),
    )
    return FeatureMapHeader(
        transfer_id="t",
        sender="a",
        request_id="r",
        stream="s",
        model=manifest.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=0,
        tensors=(),
        source="a",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )


def sender(segment: Segment, header: FeatureMapHeader, frame: bytes, coder: Coder) -> Callable[[], list[Buffer]]:
    """Return the work of a device from a received frame to the next frame, ready to send."""

    def work() -> list[Buffer]:
        job = StageJob(segment, decode_feature_map(frame, coder.registry), coder, "b", "a")
        return encode_feature_map(header, job().encoded)

    return work


def take_turns(
    first: Callable[[], object], second: Callable[[], object], seconds: float
) -> Sequence[tuple[float, float]]:
    """Return pairs of times in milliseconds; the order within a pair alternates."""
    scratch = np.zeros(SCRATCH_BYTES, np.uint8)
    pairs: list[tuple[float, float]] = []
    until_s = time.monotonic() + seconds
    while len(pairs) < MOST_PAIRS and (len(pairs) < LEAST_PAIRS or time.monotonic() < until_s):
        if len(pairs) % 2:
            second_ms, first_ms = cold_ms(second, scratch), cold_ms(first, scratch)
        else:
            first_ms, second_ms = cold_ms(first, scratch), cold_ms(second, scratch)
        pairs.append((first_ms, second_ms))
    return pairs


def cold_ms(work: Callable[[], object], scratch: Array) -> float:
    """Return the time of one call in milliseconds, after a pause and with other data in the caches."""
    scratch += 1
    time.sleep(PAUSE_S)
    begun_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun_s)


def joined(pieces: Sequence[Buffer]) -> bytes:
    """Return the pieces of a frame as one."""
    return b"".join(bytes(piece) for piece in pieces)


def line(row: FusionRow) -> str:
    """Return the results of one encoding behind one cut as a line of text."""
    saved = f"{row.saved_ms:+.3f} [{row.saved_low_ms:+.3f}, {row.saved_high_ms:+.3f}]"
    return (
        f"{row.model:20}{row.cut:3}{row.raw_bytes / 1000:9.1f} kB  {row.codec:13}"
        f"outside {row.outside_ms:8.2f}  inside {row.inside_ms:8.2f}  saved {saved} ms of {row.pairs} pairs"
    )


if __name__ == "__main__":
    main()
