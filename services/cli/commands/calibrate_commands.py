"""`segue model calibrate`: measure encodings of a model's feature maps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.cli.render.calibration_table import calibration_table
from services.cli.render.console import notes_console, print_json, results_console
from services.cli.support.command_runner import run_command
from services.cli.support.options import (
    Dimensions,
    InputShapes,
    InputValues,
    Insecure,
    Json,
    KeptOutputs,
    MaxCutTensors,
    Timeout,
    broker_settings,
    read_adaptation,
)
from services.cli.support.output_files import check_file
from services.cli.support.packed_model import FleetModel, packed_model
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.messages.calibration import Calibration

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file.", show_default=False)]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="JPEG and PNG files, or tensors (.npy, or .npz for several inputs). A small set ships with Segue.",
    ),
]
PreprocessOption = Annotated[
    str,
    typer.Option(
        "--preprocess", "--preprocessing", help="imagenet, unit, raw, tensor, or a JSON or TOML file with the steps."
    ),
]
Codecs = Annotated[
    list[str] | None, typer.Option("--codec", help="Only this encoding; repeat it for more. All if not given.")
]
Variants = Annotated[
    int | None,
    typer.Option(
        "--variants",
        min=1,
        max=6,
        help="Inputs per photograph (mirrored, cropped, darker, ...). If not given, as many as make a hundred.",
    ),
]
OutFile = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the calibration as JSON.")]
FleetBroker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        "-b",
        envvar="SEGUE_BROKER",
        metavar="ADDRESS",
        help="Share the calibration with the fleet there; without it, it is only shown.",
        show_default=False,
    ),
]


def calibrate_command(
    model: ModelFile,
    images: Images = None,
    preprocess: PreprocessOption = "",
    codec: Codecs = None,
    variants: Variants = None,
    input_shape: InputShapes = None,
    dim: Dimensions = None,
    input_value: InputValues = None,
    output: KeptOutputs = None,
    max_cut_tensors: MaxCutTensors = None,
    out: OutFile = None,
    broker: FleetBroker = None,
    insecure: Insecure = False,
    as_json: Json = False,
    timeout_s: Timeout = 10.0,
) -> None:
    """Measure every encoding of every feature map that may cross the network.

    For each cut and encoding: bytes (median and largest), time to encode and decode on this machine, and the largest
    error of the model's output. For classifiers also the share of inputs whose best and five best classes stay the
    same. Use photographs like those that the model will process: the planner applies the bounds of a policy to these
    figures.
    """
    check_file("--out", out)
    address = None if broker is None else broker_settings(broker, insecure)
    if address is None:
        notes_console().print("note: no fleet gets this calibration: give --broker to share it", soft_wrap=True)
    else:
        run_command(lambda: _check_broker(address, timeout_s))
    adaptation = read_adaptation(input_shape, dim, input_value, output)
    # The calibration belongs to the file that a fleet has.
    with packed_model(model, adaptation, max_cut_tensors) as packed:
        calibration = _measure(packed, images, preprocess, codec or (), variants, quiet=as_json)
    if out is not None:
        _write(calibration, out)
    if address is not None:
        run_command(lambda: _publish(calibration, address, timeout_s))
    if as_json:
        print_json(calibration.model_dump(mode="json"))
    else:
        results_console().print(calibration_table(calibration, model.name))


def _measure(
    model: FleetModel,
    folder: Path | None,
    preprocess: str,
    codecs: Sequence[str],
    variants: int | None,
    *,
    quiet: bool,
) -> Calibration:
    from services.cli.calibration import calibrate_model, calibration_images
    from services.cli.support.manifest import build_manifest, read_preprocessing

    steps = read_preprocessing(preprocess) if preprocess else None
    manifest = build_manifest(model.file, model=model.content, preprocessing=steps)
    images = calibration_images(manifest, folder, "give --images DIR")
    with _progress(quiet=quiet) as on_sample:
        return calibrate_model(model.file, manifest, images, codecs=codecs, variants=variants, on_sample=on_sample)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar with the remaining time on standard error, for the time of the block."""
    console = notes_console()
    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("measuring")
        yield lambda done, count: progress.update(task, completed=done, total=count)


def _write(calibration: Calibration, file: Path) -> None:
    try:
        file.write_bytes(calibration.encode_json() + b"\n")
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error


async def _check_broker(address: BusSettings, timeout_s: float) -> None:
    """Connect once, so that an unreachable broker is reported before minutes of measuring."""
    from services.cli.support.fleet_operations import operator

    async with operator(address, connect_timeout_s=timeout_s):
        pass


async def _publish(calibration: Calibration, address: BusSettings, timeout_s: float) -> None:
    from services.cli.support.fleet_operations import operator, publish_calibration

    async with operator(address, connect_timeout_s=timeout_s) as connection:
        await publish_calibration(connection, calibration)
