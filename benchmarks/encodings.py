"""Encodings of feature maps: bytes, milliseconds, effect on the outputs, and predicted costs of encoded splits.

    python -m benchmarks.encodings [--quick] [--out FILE] [--models DIR] [--only NAME]

Trained models are the demo's SqueezeNet 1.1, and EfficientNet-Lite0 if `DIR/efficientnet_lite0.onnx` exists. They run
on the calibration set. AlexNet, ResNet18 and VGG16 have seeded He weights and run on the demo's few photographs. The
sizes of their feature maps say little about trained models, and their agreement nothing. They may therefore use every
encoding except those of 4 bits.
"""

import asyncio
import io
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

import services.cli.data as demo_data
from benchmarks.encoding_map import BANDWIDTHS_MBPS, SPEEDS, EncodingCell, MeasuredModel, count_wins, encoding_cells
from benchmarks.report import argument_parser, write
from services.cli.calibration import MeasureSettings, SampleSet, measure, read_samples
from services.cli.support.manifest import Preset, build_manifest
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.prepare import prepare
from services.executor.segments.processor import Processor
from services.executor.segments.profiler import Profiler
from shared.codecs import load_registry
from shared.link_time import transmission_ms
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.messages.models import Manifest, Preprocessing
from shared.model.architectures.catalogue import build
from shared.model.onnx_file import load_model, write_onnx

DATA: Final = Path(demo_data.__file__).parent
LINKS_MBPS: Final = (5, 20, 50, 200)
SHOWN: Final = ("raw", "raw+zstd", "float16", "uint8", "uint8+zstd", "sparse8+zstd", "uint4+zstd")
SQUEEZENET: Final = Preprocessing(kind="image", channel_order="BGR", mean=(104.0, 117.0, 123.0))
EFFICIENTNET: Final = Preprocessing(kind="image", crop_fraction=0.875, mean=(127.0,) * 3, scale=(128.0,) * 3)
HE_WEIGHTS: Final = ("alexnet", "resnet18", "vgg16")


@dataclass(frozen=True, slots=True)
class MeasuredSubject:
    """A model to measure.

    Attributes:
        name: for tables.
        file: its ONNX file.
        preprocessing: of its photographs.
        trained: whether its weights are trained.
        photographs: folder of its photographs, within the demo's data.
        variants: inputs made of each photograph; none for all.
    """

    name: str
    file: Path
    preprocessing: Preprocessing | Preset
    trained: bool
    photographs: str
    variants: int | None = None


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("encodings", __doc__, quick="only SqueezeNet 1.1, over the demo's few photographs")
    parser.add_argument("--models", type=Path, help="folder with efficientnet_lite0.onnx")
    parser.add_argument("--only", action="append", help="name of a model; may be repeated")
    parser.add_argument("--min-top1-agreement", type=float, default=0.99, help="of trained models (default: 0.99)")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for subject in subjects(options.models, Path(folder), quick=options.quick):
            if options.only and subject.name not in options.only:
                continue
            measured, calibration = measure_subject(subject, Path(folder))
            print_encodings(subject, measured, calibration)
            if subject.trained:
                cells = list(encoding_cells(measured, min_top1_agreement=options.min_top1_agreement))
            else:
                lenient = replace(measured, calibration=without_uint4(calibration))
                cells = list(encoding_cells(lenient, min_top1_agreement=0.0))
            print_map(cells)
            results.append(
                {
                    "model": subject.name,
                    "trained": subject.trained,
                    "profile": {"block_ms": measured.block_ms, "overhead_ms": measured.overhead_ms},
                    "jpeg": {"size_bytes": measured.jpeg_bytes, "prepare_ms": measured.jpeg_ms},
                    "calibration": calibration.model_dump(mode="json"),
                    "cells": [asdict(cell) for cell in cells],
                }
            )
    write(options.out, {"models": results})


def subjects(models: Path | None, folder: Path, *, quick: bool = False) -> Iterator[MeasuredSubject]:
    """Yield the models to measure; those with seeded weights are written to `folder`.

    Args:
        models: folder that may hold efficientnet_lite0.onnx.
        folder: for generated models.
        quick: whether to yield SqueezeNet only, with few photographs.
    """
    if quick:
        yield MeasuredSubject("squeezenet1.1", DATA / "squeezenet1.1.onnx", SQUEEZENET, True, "photos", 1)
        return
    yield MeasuredSubject("squeezenet1.1", DATA / "squeezenet1.1.onnx", SQUEEZENET, True, "calibration")
    efficientnet = (models or Path()) / "efficientnet_lite0.onnx"
    if efficientnet.is_file():
        yield MeasuredSubject("efficientnet_lite0", efficientnet, EFFICIENTNET, True, "calibration")
    for name in HE_WEIGHTS:
        file = folder / f"{name}.onnx"
        write_onnx(build(name), file)
        yield MeasuredSubject(name, file, Preset.IMAGENET, False, "photos", 2)


def measure_subject(subject: MeasuredSubject, folder: Path) -> tuple[MeasuredModel, Calibration]:
    """Profile a model and calibrate its encodings."""
    manifest = build_manifest(subject.file, preprocessing=subject.preprocessing)
    model = load_model(subject.file)
    samples = read_samples(DATA / subject.photographs, manifest, variants=subject.variants)
    settings = MeasureSettings(threads=os.cpu_count() or 1)
    calibration = measure(model, samples, Coder(load_registry(), settings.engine), settings)
    profile = asyncio.run(_profile(manifest, subject.file, folder))
    jpeg = jpeg_of(samples, manifest.preprocessing)
    tensor = next(iter(samples.inputs[0].values())).tobytes()
    measured = MeasuredModel(
        subject.name,
        (_prepare_ms(tensor, manifest), *profile.block_ms[1:]),
        profile.segment_overhead_ms,
        _prepare_ms(jpeg, manifest),
        next(size.size_bytes for size in calibration.input_sizes if size.encoding == "jpeg95"),
        tuple(block.output_bytes for block in manifest.blocks),
        calibration,
    )
    return measured, calibration


async def _profile(manifest: Manifest, file: Path, folder: Path) -> IdleProfile:
    async with Processor.open() as processor:
        profiler = Profiler(folder / "profiles", EngineSettings(), processor, folder / "lock")

        async def fetch(start: int, stop: int) -> Path:
            return file

        return await profiler.profile(manifest, fetch)


def jpeg_of(samples: SampleSet, steps: Preprocessing) -> bytes:
    """Return the first sample as a JPEG of quality 95 and of the input's size."""
    pixels = next(iter(samples.inputs[0].values()))[0].transpose(1, 2, 0)
    pixels = pixels * np.asarray(steps.scale) + np.asarray(steps.mean)
    buffer = io.BytesIO()
    ordered = pixels[:, :, ::-1] if steps.channel_order == "BGR" else pixels
    Image.fromarray(np.clip(np.rint(ordered), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _prepare_ms(payload: bytes, manifest: Manifest) -> float:
    times = []
    for _ in range(15):
        begun = time.perf_counter()
        prepare(payload, manifest)
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def without_uint4(calibration: Calibration) -> Calibration:
    """Return a calibration without the encodings of 4 bits."""
    blocks = tuple(
        block.model_copy(update={"codecs": tuple(c for c in block.codecs if not c.codec.startswith("uint4"))})
        for block in calibration.blocks
    )
    return calibration.model_copy(update={"blocks": blocks})


def useful(calibration: Calibration) -> Iterator[BlockCalibration]:
    """Yield the blocks behind which some encoding is smaller than the same encoding behind every earlier block."""
    least: dict[str, int] = {}
    for block in calibration.blocks:
        shrinks = False
        for codec in block.codecs:
            if codec.codec in SHOWN and codec.size_bytes < least.get(codec.codec, 1 << 62):
                least[codec.codec], shrinks = codec.size_bytes, True
        if shrinks:
            yield block


def print_encodings(subject: MeasuredSubject, measured: MeasuredModel, calibration: Calibration) -> None:
    """Print bytes, times and effect on the outputs for every useful cut."""
    weights = "trained" if subject.trained else "seeded He weights"
    print(f"\n## {subject.name} ({weights}), {sum(measured.block_ms[1:]):.1f} ms here")
    print(f"{calibration.samples} inputs of {calibration.photographs} photographs; ", end="")
    print(", ".join(f"{size.encoding} {size.size_bytes / 1000:.1f} kB" for size in calibration.input_sizes))
    saved = "".join(f"{'@' + str(link):>9}" for link in LINKS_MBPS)
    print(f"{'cut':>3} {'encoding':13}{'kB':>8}{'worst':>8}{'/raw':>6}{'/input':>7}{'/jpeg':>7}", end="")
    print(f"{'enc ms':>8}{'dec ms':>8}{saved}{'error':>9}{'top1':>6}{'top5':>6}")
    for block in useful(calibration):
        for codec in block.codecs:
            if codec.codec in SHOWN:
                print(_line(block, codec, measured))


def _line(block: BlockCalibration, codec: CodecCalibration, measured: MeasuredModel) -> str:
    spent_ms = codec.encode_ms + codec.decode_ms
    saved = [transmission_ms(block.raw_bytes - codec.size_bytes, link) - spent_ms for link in LINKS_MBPS]
    top = "".join(
        f"{share:6.0%}" if share is not None else " " * 6 for share in (codec.top1_agreement, codec.top5_agreement)
    )
    return (
        f"{block.block:3} {codec.codec:13}{codec.size_bytes / 1000:8.1f}{codec.worst_size_bytes / 1000:8.1f}"
        f"{codec.size_bytes / block.raw_bytes:6.0%}{codec.size_bytes / measured.output_bytes[0]:7.1%}"
        f"{codec.size_bytes / measured.jpeg_bytes:7.2f}{codec.encode_ms:8.2f}{codec.decode_ms:8.2f}"
        f"{''.join(f'{saved_ms:9.2f}' for saved_ms in saved)}{codec.max_relative_error:9.1e}{top}"
    )


def print_map(cells: Sequence[EncodingCell]) -> None:
    """Print the costs of every cell, and the number of cells that raw and encoded splits win."""
    for jpeg in (False, True):
        chosen = [cell for cell in cells if cell.jpeg is jpeg]
        print(f"\nrequests as {'JPEG' if jpeg else 'tensor'}: ms; gain over the better of local and remote")
        print(f"{'source':>7}{'Mbps':>6}{'local':>9}{'remote':>9}{'raw':>9}{'encoded':>9}{'gain':>7}  route", end="")
        print(f"{'':24}{'raw Hz':>8}{'enc. Hz':>8}{'gain':>7}{'gain':>7}")
        for cell in chosen:
            costs = "".join(f"{cell.latency[way].cost_ms:9.1f}" for way in ("local", "remote", "raw", "encoded"))
            rates = "".join(f"{1000 / cell.period[way].cost_ms:8.1f}" for way in ("raw", "encoded"))
            gains = "".join(f"{cell.gain(way, pipelined=True):7.2f}" for way in ("raw", "encoded"))
            print(f"{cell.speed:7.0%}{cell.bandwidth_mbps:6}{costs}{cell.gain('encoded'):7.2f}", end="")
            print(f"  {cell.latency['encoded'].route:29}{rates}{gains}")
        for way in ("raw", "encoded"):
            wins, best = count_wins(chosen, way, margin=0.01)
            pipelined, most = count_wins(chosen, way, margin=0.01, pipelined=True)
            total = len(SPEEDS) * len(BANDWIDTHS_MBPS)
            inputs = sum(cell.latency[way].route.startswith("[0,1)so ") and cell.gain(way) > 1.01 for cell in chosen)
            print(f"{way} wins latency in {wins} of {total} cells (best {best:.2f}x), ", end="")
            print(f"in {inputs} of them by sending the input tensor from the source; ", end="")
            print(f"sustained rate in {pipelined} (best {most:.2f}x)")


if __name__ == "__main__":
    main()
