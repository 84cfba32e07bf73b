"""`segue model add` and `segue model list`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from services.cli.commands.model_file_commands import InputShapes, read_shapes
from services.cli.support.command_runner import run_command
from services.cli.support.options import DEFAULT_BROKER, Broker, Json, notes, output, print_json, settings
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.messages.models import Manifest, OutputKind
from shared.service_runtime import InputError

_FILTERS = ("models/+",)


def add(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file.", show_default=False)],
    name: Annotated[str, typer.Option(help="Alias of the model; the file's name if not given.")] = "",
    labels: Annotated[Path | None, typer.Option(help="Class names: a JSON list, or one per line.")] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            help="How photographs become the input: imagenet (the usual mean and deviation), unit (0 to 1), raw (0 to "
            "255), tensor (no photographs), or a JSON or TOML file with fields such as mean, scale, channel_order, "
            "resize, crop_fraction. Not given: imagenet if the input looks like an image in colour.",
            show_default=False,
        ),
    ] = None,
    output_kind: Annotated[
        OutputKind | None, typer.Option("--output", help="What the output means; classification if there are labels.")
    ] = None,
    softmax: Annotated[
        bool, typer.Option("--softmax", help="The outputs are logits: scores are their softmax.")
    ] = False,
    input_shape: InputShapes = None,
    rename: Annotated[
        bool, typer.Option("--rename", help="The fleet has this file under another name: give it the new one.")
    ] = False,
    stall_s: Annotated[float, typer.Option(min=1.0, help="Give up when nobody asks for bytes for so long.")] = 30.0,
    broker: Broker = DEFAULT_BROKER,
    as_json: Json = False,
) -> None:
    """Give a model to the fleet.

    The file is analysed here and its bytes are sent over the bus to the planner's library, from which devices take
    what they need. It is known by the SHA-256 of its bytes and has one name, an alias: streams that were declared by
    the name that --rename takes away do not find it any more.
    """
    from services.cli.support.manifest import build_manifest, read_preprocessing
    from services.cli.support.operations import add_model

    address = settings(broker)
    wish = None if preprocessing is None else read_preprocessing(preprocessing)
    manifest = build_manifest(
        model,
        name=name,
        labels=labels,
        preprocessing=wish,
        output=output_kind,
        softmax=softmax,
        input_shapes=read_shapes(input_shape),
    )
    if not topics.is_name(manifest.name):
        raise InputError(f"{manifest.name!r} is no name: give --name with letters, digits, '_', '.', '-'")
    if not rename:
        run_command(lambda: _check_names(address, manifest))
    with _progress() as progress:
        task = progress.add_task(manifest.name, total=manifest.size_bytes)
        added = run_command(
            lambda: add_model(
                address,
                manifest,
                model,
                on_progress=lambda sent, whole: progress.update(task, completed=sent, total=whole),
                stall_s=stall_s,
            )
        )
    if as_json:
        print_json(_document(added))
    else:
        steps = added.preprocessing
        kind = (
            f"photographs, {steps.width} x {steps.height} {steps.channel_order}" if steps.kind == "image" else "tensors"
        )
        output().print(
            f"{added.name} is in the fleet's library: {len(added.blocks)} blocks, requests are {kind}, "
            f"{len(added.labels)} labels\n{added.model}",
            soft_wrap=True,
        )


async def _check_names(address: BusSettings, manifest: Manifest) -> None:
    """Refuse to take a name from a model without being told to.

    Raises:
        InputError: the fleet has the same file under another name.
    """
    from services.cli.support.operations import look, operator

    async with operator(address) as connection:
        known = (await look(connection, _FILTERS)).manifests
    same = known.get(manifest.model)
    if same is not None and same.name != manifest.name:
        raise InputError(
            f"the fleet has this file as {same.name} already: use that name, or --rename to call it {manifest.name}"
        )


def list_models(broker: Broker = DEFAULT_BROKER, as_json: Json = False) -> None:
    """List the models that the fleet knows."""
    from services.cli.support.operations import look, operator

    address = settings(broker)

    async def gather() -> list[Manifest]:
        async with operator(address) as connection:
            view = await look(connection, _FILTERS)
            return sorted(view.manifests.values(), key=lambda manifest: manifest.name)

    manifests = run_command(gather)
    if as_json:
        print_json([_document(manifest) for manifest in manifests])
        return
    if not manifests:
        notes().print("The fleet has no model yet: segue model add MODEL.onnx")
        return
    table = Table()
    for heading in ("name", "SHA-256", "MB", "blocks", "input", "labels"):
        table.add_column(heading, overflow="fold")
    for manifest in manifests:
        inputs = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in manifest.inputs)
        size = f"{manifest.size_bytes / 1e6:.1f}"
        table.add_row(
            manifest.name, manifest.model[:12], size, str(len(manifest.blocks)), inputs, str(len(manifest.labels))
        )
    output().print(table)


def _document(manifest: Manifest) -> dict[str, object]:
    document: dict[str, object] = manifest.model_dump(mode="json", exclude={"schema_version"})
    return document


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=notes()
    )
