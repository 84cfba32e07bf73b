"""`segue model add`."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.support.command_runner import run_command
from services.cli.support.options import (
    Broker,
    Dimensions,
    InputShapes,
    InputValues,
    Insecure,
    Json,
    KeptOutputs,
    MaxCutTensors,
    broker_settings,
    read_adaptation,
)
from services.cli.support.packed_model import packed_model
from services.cli.support.published_model import PublishedModel, published_model
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.messages.models import Manifest, OutputKind

_FILTERS: Final = ("models/+",)

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file.", show_default=False)]
Alias = Annotated[str, typer.Option("--name", help="Alias of the model; the file's name if not given.")]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="Class names: one per line, JSON or YAML. Not given: those in the ONNX file."),
]
PreprocessingOption = Annotated[
    str | None,
    typer.Option(
        "--preprocessing",
        help="Conversion of photographs to the input: imagenet (usual mean and deviation), unit (0 to 1), raw (0 to "
        "255), tensor (no photographs). Or a JSON or TOML file with fields such as mean, scale, channel_order, "
        "resize, crop_fraction. Not given: imagenet if the input looks like an image in colour, raw if of integers.",
        show_default=False,
    ),
]
OutputKindOption = Annotated[
    OutputKind | None,
    typer.Option("--output-kind", help="Meaning of the first output; classification if there are labels."),
]
Softmax = Annotated[bool, typer.Option("--softmax", help="The outputs are logits: scores are their softmax.")]
Rename = Annotated[
    bool, typer.Option("--rename", help="If the fleet has this file under another name, give it the new one.")
]
Stall = Annotated[
    float,
    typer.Option("--stall-s", min=1.0, help="Give up after this time without a request of the planner for bytes."),
]


def add_model_command(
    model: ModelFile,
    name: Alias = "",
    labels: Labels = None,
    preprocessing: PreprocessingOption = None,
    output_kind: OutputKindOption = None,
    softmax: Softmax = False,
    input_shape: InputShapes = None,
    dim: Dimensions = None,
    input_value: InputValues = None,
    output: KeptOutputs = None,
    max_cut_tensors: MaxCutTensors = None,
    rename: Rename = False,
    stall_s: Stall = 30.0,
    broker: Broker = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Give a model to the fleet.

    The file is analysed here, and its blocks are compared with the whole file on random inputs. Its bytes go over the
    bus to the planner's library, from which devices fetch them. A model is identified by the SHA-256 of its bytes and
    has one name, an alias. Streams that were declared with the old name do not find the model after --rename.
    """
    from services.cli.support.block_check import check_blocks
    from services.cli.support.manifest import build_manifest, read_preprocessing

    address = broker_settings(broker, insecure)
    adaptation = read_adaptation(input_shape, dim, input_value, output)
    with packed_model(model, adaptation, max_cut_tensors) as packed:
        manifest = build_manifest(
            packed.file,
            model=packed.content,
            name=name,
            labels=labels,
            preprocessing=None if preprocessing is None else read_preprocessing(preprocessing),
            output=output_kind,
            softmax=softmax,
            on_note=lambda note: notes_console().print(f"note: {note}", soft_wrap=True),
        )
        if not topics.is_name(manifest.name):
            raise InputError(f"{manifest.name!r} is no name: give --name with letters, digits, '_', '.', '-'")
        if not rename:
            run_command(lambda: _check_alias(address, manifest))
        check = check_blocks(packed.content, model)
        with published_model(packed.file, manifest, packed.content) as published:
            del packed  # The weights of a large model.
            added = _upload(address, published, stall_s)
    if check.is_warning:
        notes_console().print(f"warning: {check.text}", soft_wrap=True)
    if as_json:
        print_json(_document(added) | {"verification": {"text": check.text, **check.errors}})
    else:
        _show_added(added, "" if check.is_warning else check.text)


async def _check_alias(address: BusSettings, manifest: Manifest) -> None:
    """Check that adding a model takes no name away from it.

    Raises:
        InputError: the fleet has the same file under another name.
    """
    from services.cli.support.fleet_operations import look, operator

    async with operator(address) as connection:
        known = (await look(connection, _FILTERS)).manifests
    same = known.get(manifest.model)
    if same is not None and same.name != manifest.name:
        raise InputError(
            f"the fleet has this file as {same.name} already: use that name, or --rename to call it {manifest.name}"
        )


def _upload(address: BusSettings, published: PublishedModel, stall_s: float) -> Manifest:
    """Add a model with a progress bar on standard error; return its manifest as the library publishes it."""
    from services.cli.support.fleet_operations import add_model

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=notes_console()) as progress:
        task = progress.add_task(published.manifest.name, total=published.manifest.size_bytes)
        return run_command(
            lambda: add_model(
                address,
                published.manifest,
                published.file,
                on_progress=lambda sent, total: progress.update(task, completed=sent, total=total),
                stall_s=stall_s,
            )
        )


def _show_added(manifest: Manifest, check: str) -> None:
    steps = manifest.preprocessing
    kind = f"photographs, {steps.width} x {steps.height} {steps.channel_order}" if steps.kind == "image" else "tensors"
    results_console().print(
        f"{manifest.name} is in the fleet's library: {len(manifest.blocks)} blocks, requests are {kind}, "
        f"{len(manifest.labels)} labels\n{manifest.model}" + (f"\n{check}" if check else ""),
        soft_wrap=True,
    )


def _document(manifest: Manifest) -> dict[str, object]:
    document: dict[str, object] = manifest.model_dump(mode="json", exclude={"schema_version"})
    return document
