"""`segue model calibrate`: what encodings of a model's feature maps cost, and what they do to its answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.cli.support.command_runner import run_command
from services.cli.support.options import Json, Timeout, notes, output, print_json, settings
from services.cli.support.output_files import check_file
from shared.messages.calibration import Calibration
from shared.service_runtime import InputError


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="JPEG and PNG files, or tensors (.npy; .npz for several inputs); a small set ships.",
        ),
    ] = None,
    preprocess: Annotated[
        str,
        typer.Option(
            "--preprocess",
            "--preprocessing",
            help="imagenet, unit, raw, tensor, or a JSON or TOML file with the steps.",
        ),
    ] = "",
    codec: Annotated[
        list[str] | None, typer.Option("--codec", help="Only these; repeat it. All of them if not given.")
    ] = None,
    variants: Annotated[
        int | None,
        typer.Option(
            "--variants",
            min=1,
            max=6,
            help="Inputs per photograph: mirrored, cropped, darker, ...; as many as make a hundred if not given.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the calibration as JSON.")] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker",
            "-b",
            envvar="SEGUE_BROKER",
            metavar="ADDRESS",
            help="Share the calibration with the fleet there; without it, it is only shown.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    timeout_s: Timeout = 10.0,
) -> None:
    """Measure every encoding of every feature map that may cross the network.

    For each cut and encoding: bytes (median and worst), time to encode and decode on this machine, the largest error
    of the model's output, and for classifiers how often the best and the five best classes stay the same. Measure
    with photographs like those that the model will see: the planner keeps to the bounds of a policy by these numbers.
    """
    check_file("--out", out)
    if broker is None:
        notes().print("note: no fleet will know of this calibration: give --broker to share it", soft_wrap=True)
    else:
        run_command(lambda: _reach(broker, timeout_s))
    found = _measure(model, images, preprocess, codec, variants, quiet=as_json)
    document = found.model_dump(mode="json")
    if out is not None:
        try:
            out.write_bytes(found.encode_json() + b"\n")
        except OSError as error:
            raise InputError(f"cannot write {out}: {error.strerror}") from error
    if broker is not None:
        run_command(lambda: _publish(found, broker, timeout_s))
    if as_json:
        print_json(document)
    else:
        _show(found, model.name)


def _measure(
    file: Path, folder: Path | None, preprocess: str, codecs: list[str] | None, variants: int | None, *, quiet: bool
) -> Calibration:
    from services.cli.calibration import SHIPPED, calibrate_model, sample_kind
    from services.cli.support.manifest import build_manifest, read_preprocessing

    manifest = build_manifest(file, preprocessing=read_preprocessing(preprocess) if preprocess else None)
    images = SHIPPED if folder is None else folder
    if manifest.preprocessing.kind != "image" and folder is None:
        kind, endings = sample_kind(manifest)
        raise InputError(f"the model takes {kind}: give --images DIR with {', '.join(endings)} files of them")
    with _progress(quiet=quiet) as tell:
        return calibrate_model(file, manifest, images, codecs=codecs or (), variants=variants, on_sample=tell)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how far something is on standard error, and how long it will take."""
    console = notes()
    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("measuring")
        yield lambda done, count: progress.update(task, completed=done, total=count)


async def _reach(broker: str, timeout_s: float) -> None:
    """Find out that there is no broker before minutes are spent."""
    from services.cli.support.operations import operator

    async with operator(settings(broker), connect_timeout_s=timeout_s):
        pass


async def _publish(calibration: Calibration, broker: str, timeout_s: float) -> None:
    from services.cli.support.operations import operator, publish_calibration

    async with operator(settings(broker), connect_timeout_s=timeout_s) as connection:
        await publish_calibration(connection, calibration)


def _show(calibration: Calibration, name: str) -> None:
    sizes = ", ".join(f"{size.encoding} {size.size_bytes / 1000:.1f} kB" for size in calibration.input_sizes)
    made_of = f"{calibration.photographs} file{'s' if calibration.photographs != 1 else ''}"
    origin = f"{calibration.samples} inputs made of {made_of}" + (f"; {sizes}" if sizes else "")
    table = Table(
        title=f"{name}: encodings", caption=f"{origin}. ms: to encode + to decode.", padding=0, pad_edge=False
    )
    for heading in ("cut", "encoding", "kB", "worst", "of raw", "ms", "error", "top-1", "top-5"):
        table.add_column(heading, justify="left" if heading == "encoding" else "right", no_wrap=True)
    for block in calibration.blocks:
        for codec in block.codecs:
            table.add_row(
                str(block.block),
                codec.codec,
                f"{codec.size_bytes / 1000:.1f}",
                f"{codec.worst_size_bytes / 1000:.1f}",
                f"{codec.size_bytes / block.raw_bytes:.0%}" if block.raw_bytes else "",
                f"{codec.encode_ms:.2f}+{codec.decode_ms:.2f}",
                f"{codec.max_relative_error:.1e}",
                _share(codec.top1_agreement),
                _share(codec.top5_agreement),
            )
        table.add_section()
    output().print(table)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
