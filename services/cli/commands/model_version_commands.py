"""`segue model list`, `pin`, `rollback` and `remove`: the models in the fleet's library and their versions."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.render.fleet_view import FleetView
from services.cli.support.command_runner import run_command
from services.cli.support.model_versions import chosen_version, current_version, differences, named_versions
from services.cli.support.options import (
    Broker,
    Insecure,
    Json,
    StreamName,
    Timeout,
    broker_settings,
    check_name,
    no_such_stream,
)
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.messages.models import Manifest, ModelVersion
from shared.messages.streams import StreamDeclaration

_FILTERS: Final = ("models/+", "models/+/versions/+", "streams/+", "streams/+/plan")
# Word for the newest version, which streams take that keep none.
_NEWEST: Final = "newest"

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name, or its SHA-256.")]
PinnedVersion = Annotated[
    str, typer.Argument(metavar="VERSION", help="Number of a version, first digits of its digest, or `newest`.")
]
RollbackVersion = Annotated[
    str | None,
    typer.Option("--to", metavar="VERSION", help="Number or first digits of a version; the one before if not given."),
]
RemovedVersion = Annotated[
    str | None, typer.Option("--version", metavar="VERSION", help="Only this version; the whole model if not given.")
]


def list_models_command(broker: Broker = None, insecure: Insecure = False, as_json: Json = False) -> None:
    """List the models in the fleet's library, each with its versions and what differs between them.

    Streams that keep no version take the current one, which is marked.
    """
    address = broker_settings(broker, insecure)
    view = run_command(lambda: _look(address))
    if as_json:
        ordered = sorted(view.manifests.values(), key=lambda manifest: manifest.name)
        print_json([_document(manifest, view) for manifest in ordered])
        return
    if not view.manifests:
        notes_console().print("The fleet has no model yet: segue model add MODEL.onnx")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "version", "SHA-256", "MB", "blocks", "input", "labels", "differs in", "streams"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("version", "SHA-256"))
    for name in sorted({version.manifest.name for version in view.versions.values()}):
        for entry in _entries(view, name):
            table.add_row(*_row(entry))
    described = {version.model for version in view.versions.values()}
    for manifest in view.manifests.values():
        # The library of an old planner, or another provider, keeps no versions.
        if manifest.model not in described:
            table.add_row(manifest.name, "", *_cells(manifest), "", "")
    results_console().print(table)


def pin_command(
    stream: StreamName,
    version: PinnedVersion,
    broker: Broker = None,
    insecure: Insecure = False,
    timeout_s: Timeout = 120.0,
) -> None:
    """Let a stream keep one version of its model, whatever is added later; `newest` ends that.

    The stream goes on with its present route until all devices are ready for the version.
    """
    check_name(stream)
    address = broker_settings(broker, insecure)
    kept = run_command(lambda: _pin(address, stream, version, timeout_s))
    text = f"keeps version {kept.number}" if version != _NEWEST else f"takes the newest version, now {kept.number},"
    results_console().print(f"{stream} {text} of {kept.manifest.name}", soft_wrap=True)


def rollback_command(
    model: ModelName,
    to: RollbackVersion = None,
    broker: Broker = None,
    insecure: Insecure = False,
    timeout_s: Timeout = 30.0,
) -> None:
    """Make an earlier version of a model the current one again.

    Every stream that keeps no version gets a new epoch under it. Nothing is transferred: the library has its file.
    """
    address = broker_settings(broker, insecure)
    version = run_command(lambda: _roll_back(address, model, to, timeout_s))
    results_console().print(f"version {version.number} of {version.manifest.name} is the current one", soft_wrap=True)


def remove_model_command(
    model: ModelName, version: RemovedVersion = None, broker: Broker = None, insecure: Insecure = False
) -> None:
    """Remove a model, or one version of it, that no stream uses."""
    address = broker_settings(broker, insecure)
    removed = run_command(lambda: _remove(address, model, version))
    results_console().print(removed, soft_wrap=True)


async def _look(address: BusSettings) -> FleetView:
    from services.cli.support.fleet_operations import look, operator

    async with operator(address) as connection:
        return await look(connection, _FILTERS)


async def _pin(address: BusSettings, stream: str, text: str, timeout_s: float) -> ModelVersion:
    from services.cli.support.fleet_operations import declare_stream, look, operator, until_plan_of

    async with operator(address) as connection:
        view = await look(connection, _FILTERS)
        seen = view.streams.get(stream)
        if seen is None or seen.declaration is None:
            raise no_such_stream(stream)
        own = named_versions(view.versions.values(), seen.declaration.model)
        current = current_version(own, view.manifests)
        version = current if text == _NEWEST else chosen_version(own, text)
        if version is None:
            raise InputError(f"model {seen.declaration.model} has no current version")
        kept = "" if text == _NEWEST else version.version
        await declare_stream(connection, seen.declaration.model_copy(update={"version": kept}))
        await until_plan_of(connection, stream, version.version, timeout_s=timeout_s)
        return version


async def _roll_back(address: BusSettings, model: str, text: str | None, timeout_s: float) -> ModelVersion:
    from services.cli.support.fleet_operations import look, operator, restore_version

    async with operator(address) as connection:
        view = await look(connection, _FILTERS)
        own = named_versions(view.versions.values(), model)
        version = _previous(own, view) if text is None else chosen_version(own, text)
        await restore_version(connection, version, timeout_s=timeout_s)
        return version


def _previous(own: list[ModelVersion], view: FleetView) -> ModelVersion:
    current = current_version(own, view.manifests)
    earlier = [each for each in own if current is None or each.number < current.number]
    if not earlier:
        raise InputError(f"model {own[0].manifest.name} has no version before the current one")
    return earlier[-1]


async def _remove(address: BusSettings, model: str, text: str | None) -> str:
    from services.cli.support.fleet_operations import clear_retained, look, operator

    async with operator(address) as connection:
        view = await look(connection, _FILTERS)
        own = named_versions(view.versions.values(), model)
        name = own[0].manifest.name
        gone = own if text is None else [chosen_version(own, text)]
        for version in gone:
            if users := _users(view, version):
                raise InputError(f"version {version.number} of {name} is used by {', '.join(users)}")
        if text is None:
            await clear_retained(connection, {topics.manifest(version.model) for version in own})
            return f"{name} is removed with all its versions"
        if gone[0] == current_version(own, view.manifests):
            raise InputError(f"version {gone[0].number} is the current one of {name}: segue model rollback {name}")
        await clear_retained(connection, {topics.model_version(gone[0].model, gone[0].version)})
        return f"version {gone[0].number} of {name} is removed"


def _users(view: FleetView, version: ModelVersion) -> list[str]:
    """Return the streams that keep a version, run it, or take it as the newest of their model."""
    users = []
    for name, stream in sorted(view.streams.items()):
        planned = stream.plan is not None and stream.plan.version == version.version
        if planned or (stream.declaration is not None and _takes(stream.declaration, version, view)):
            users.append(name)
    return users


def _takes(declaration: StreamDeclaration, version: ModelVersion, view: FleetView) -> bool:
    if declaration.version:
        return declaration.version == version.version
    own = [each for each in view.versions.values() if declaration.model in (each.model, each.manifest.name)]
    return version == current_version(own, view.manifests)


def _entries(view: FleetView, name: str) -> list[dict[str, Any]]:
    """Return what is known of every version of a name, the oldest first."""
    own = sorted((each for each in view.versions.values() if each.manifest.name == name), key=lambda each: each.number)
    current = current_version(own, view.manifests)
    entries = []
    for index, version in enumerate(own):
        before = own[index - 1].manifest if index else None
        entries.append(
            {
                "number": version.number,
                "version": version.version,
                "model": version.model,
                "added_at_s": version.added_at_s,
                "is_current": version == current,
                "differs_in": () if before is None else differences(before, version.manifest),
                "streams": _users(view, version),
                "manifest": version.manifest,
            }
        )
    return entries


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    added = datetime.fromtimestamp(entry["added_at_s"], UTC).strftime("%Y-%m-%d")
    version = f"{entry['number']}{' current' if entry['is_current'] else ''}\n{added}"
    manifest: Manifest = entry["manifest"]
    return (manifest.name, version, *_cells(manifest), ", ".join(entry["differs_in"]), ", ".join(entry["streams"]))


def _cells(manifest: Manifest) -> tuple[str, ...]:
    # A line each, without blanks in the shape: a narrow terminal would break them.
    inputs = "\n".join(f"{spec.name} {'x'.join(map(str, spec.shape))}" for spec in manifest.inputs)
    size = f"{manifest.size_bytes / 1e6:.1f}"
    return manifest.model[:12], size, str(len(manifest.blocks)), inputs, str(len(manifest.labels))


def _document(manifest: Manifest, view: FleetView) -> dict[str, Any]:
    document: dict[str, Any] = manifest.model_dump(mode="json", exclude={"schema_version"})
    entries = [entry for entry in _entries(view, manifest.name) if entry["model"] == manifest.model]
    return document | {"versions": [{key: entry[key] for key in entry if key != "manifest"} for entry in entries]}
