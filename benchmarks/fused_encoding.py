"""Encoding in a segment's graph against encoding outside it: a sender from frame in to frame out.

    python -m benchmarks.fused_encoding [--models DIR] [--only NAME] [--seconds S]

For the cuts behind which less crosses than behind any before. Both ways take turns, each after a pause and with caches
that hold something else, and must make the same bytes. Reported is the median of the pairs' differences, with the
interval that holds the true median in 95 of 100 cases (order statistics).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.encodings import DATA, subjects
from benchmarks.report import RESULTS, write
from services.cli.calibration import read_samples
from services.cli.support.manifest import build_manifest
from services.executor.feature_maps import decode_feature_map, encode_feature_map, encode_tensors
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.segments.fusion import representation_of
from services.executor.segments.lifecycle import SegmentKey
from services.executor.segments.segment import REQUEST_TENSOR, Segment, build_segments
from services.executor.stage_runner import StageJob
from shared.codecs import RAW, Buffer, load_registry
from shared.messages.models import Manifest
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage

OUT = RESULTS / "fused_encoding.json"
CODECS = ("float16", "uint8", "uint8+zstd", "sparse8+zstd", "uint4")
ENGINE = EngineSettings()
LEAST_PAIRS, MOST_PAIRS = 15, 150
SCRATCH_BYTES = 16 * 1024 * 1024
PAUSE_S = 0.001


@dataclass(frozen=True, slots=True)
class Row:
    """One cut and encoding; milliseconds from frame in to frame out."""

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder with efficientnet_lite0.onnx")
    parser.add_argument("--only", action="append", help="names of models; repeat it")
    parser.add_argument("--seconds", type=float, default=1.5, help="per cut and encoding (default: %(default)s)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for subject in subjects(options.models, Path(folder)):
            if options.only and subject.name not in options.only:
                continue
            manifest = build_manifest(subject.file, preprocessing=subject.preprocessing)
            samples = read_samples(DATA / "photos", manifest, variants=1)
            request = np.frombuffer(b"".join(each.tobytes() for each in samples.inputs[0].values()), np.uint8)
            for cut in useful_cuts(manifest):
                for row in measure_cut(subject.name, subject.file, manifest, cut, request, options.seconds):
                    rows.append(row)
                    print(line(row), flush=True)
    write(OUT, {"rows": [asdict(row) for row in rows]})


def useful_cuts(manifest: Manifest) -> Iterator[int]:
    """Yield the cuts, the last block and `prepare` alone aside, that are smaller than all before."""
    least = 1 << 62
    for index, block in enumerate(manifest.blocks[1:-1], start=1):
        if block.output_bytes < least:
            least = block.output_bytes
            yield index + 1


def measure_cut(
    name: str, file: Path, manifest: Manifest, cut: int, request: np.ndarray, seconds: float
) -> Iterator[Row]:
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
        reach = 0.98 * len(saved) ** 0.5
        yield Row(
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
    """Return the header of a request whose first stage is measured."""
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
    """Return what a device does with a frame until the next one is ready to be sent."""

    def work() -> list[Buffer]:
        job = StageJob(segment, decode_feature_map(frame, coder.registry), coder, "b", "a")
        return encode_feature_map(header, job().encoded)

    return work


def take_turns(
    first: Callable[[], object], second: Callable[[], object], seconds: float
) -> Sequence[tuple[float, float]]:
    """Return pairs of times in milliseconds; who begins alternates."""
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


def cold_ms(work: Callable[[], object], scratch: np.ndarray) -> float:
    """Time one call after a pause, with caches that hold something else."""
    scratch += 1
    time.sleep(PAUSE_S)
    begun_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun_s)


def joined(pieces: Sequence[Buffer]) -> bytes:
    """Return a frame in one piece."""
    return b"".join(bytes(piece) for piece in pieces)


def line(row: Row) -> str:
    """Say how one encoding did behind one cut."""
    saved = f"{row.saved_ms:+.3f} [{row.saved_low_ms:+.3f}, {row.saved_high_ms:+.3f}]"
    return (
        f"{row.model:20}{row.cut:3}{row.raw_bytes / 1000:9.1f} kB  {row.codec:13}"
        f"outside {row.outside_ms:8.2f}  inside {row.inside_ms:8.2f}  saved {saved} ms of {row.pairs} pairs"
    )


if __name__ == "__main__":
    main()
