"""`segue stream add`, `segue stream list` and `segue stream remove`."""

from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.render.fleet_view import FleetView, StreamView
from services.cli.render.route_text import committed_routes_text
from services.cli.support.broker_access import broker_access
from services.cli.support.command_runner import run_command
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.fleet_operations import declare_stream, look, operator, until_running, withdraw_stream
from services.cli.support.model_versions import chosen_version, named_versions
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
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.messages.streams import StreamDeclaration, StreamPhase, StreamStatus

_FILTERS = (
    "models/+",
    "streams/+",
    "streams/+/plan",
    "streams/+/status",
    "streams/+/usage",
    "devices/+/presence",
    "services/+/presence",
)

_VERSIONS = ("models/+/versions/+",)

ModelName = Annotated[str, typer.Option("--model", help="The model's name, or its SHA-256.", show_default=False)]
KeptVersion = Annotated[
    str | None,
    typer.Option("--version", help="Version of the model that the stream keeps; the newest one if not given."),
]
Source = Annotated[str, typer.Option("--source", help="The device at which requests arise.", show_default=False)]
Sink = Annotated[str | None, typer.Option("--sink", help="The device that needs the results; any device if not given.")]
Rate = Annotated[float | None, typer.Option("--rate-hz", min=0.0, help="Requests per second, if known.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Size of a burst: requests that arrive together.")]
Live = Annotated[bool, typer.Option("--live", help="Keep only the newest request when too many wait.")]
Wait = Annotated[
    bool | None,
    typer.Option(
        "--wait/--no-wait",
        help="--wait: wait for the model as well as for the route. --no-wait: wait for neither.",
        show_default=False,
    ),
]


def add_stream_command(
    stream: StreamName,
    model: ModelName,
    source: Source,
    version: KeptVersion = None,
    sink: Sink = None,
    rate_hz: Rate = None,
    jobs: Jobs = 1,
    live: Live = False,
    wait: Wait = None,
    timeout_s: Timeout = 120.0,
    broker: Broker = None,
    insecure: Insecure = False,
) -> None:
    """Declare a stream and wait until the planner has routed it.

    Adding a stream again changes it. Devices that have no profile of the model measure it first.
    A model that the fleet does not have is refused, unless --wait or --no-wait is given.
    """
    for name in (stream, source, *([sink] if sink else [])):
        check_name(name)
    declaration = StreamDeclaration(
        stream=stream, model=model, source=source, sink=sink, rate_hz=rate_hz, jobs=jobs, live=live
    )
    access = broker_access(broker, insecure)
    status, view = run_command(lambda: _declare(access.settings, declaration, version, wait, timeout_s))
    if status is not None and status.state is StreamPhase.INFEASIBLE:
        raise InfeasibleProblem("\n".join(status.reasons) or f"stream {stream} cannot be routed")
    if view is not None and view.plan is not None:
        routes = committed_routes_text(view.plan.routes)
        results_console().print(f"{stream}: {routes} ({view.plan.reason})", soft_wrap=True)
    if access.account is not None:
        # Nobody here sees the broker's rules, and Mosquitto does not say that a device receives nothing.
        notes_console().print(
            f"its requests reach {source} once this has been run beside the broker: segue fleet add-stream {stream} "
            f"--source {source}",
            soft_wrap=True,
        )


async def _declare(
    address: BusSettings, declaration: StreamDeclaration, version: str | None, wait: bool | None, timeout_s: float
) -> tuple[StreamStatus | None, StreamView | None]:
    """Return the status and the view of a stream once it is declared and routed; None for both without waiting."""
    async with operator(address) as connection:
        if wait is None:
            await _check_model(connection, declaration.model)
        if version is not None:
            own = named_versions((await look(connection, _VERSIONS)).versions.values(), declaration.model)
            declaration = declaration.model_copy(update={"version": chosen_version(own, version).version})
        await declare_stream(connection, declaration)
        if wait is False:
            return None, None
        status = await until_running(connection, declaration.stream, timeout_s=timeout_s, on_status=_show_status)
        view = await look(connection, _FILTERS)
        return status, view.streams.get(declaration.stream)


async def _check_model(connection: Connection, model: str) -> None:
    """Check that the fleet has a model.

    Raises:
        InputError: it does not; the text has the models that there are.
    """
    manifests = (await look(connection, ("models/+",))).manifests
    names = sorted(manifest.name for manifest in manifests.values())
    if model not in manifests and model not in names:
        there = f"there are {', '.join(names)}" if names else "it has none"
        raise InputError(f"the fleet has no model {model}, {there}: segue model add MODEL.onnx, or wait for it: --wait")


def _show_status(status: StreamStatus) -> None:
    if status.state is not StreamPhase.RUNNING:
        reasons = "; ".join(status.reasons)
        notes_console().print(
            f"{status.stream} is {status.state.value}{': ' if reasons else ''}{reasons}", soft_wrap=True
        )


def list_streams_command(broker: Broker = None, insecure: Insecure = False, as_json: Json = False) -> None:
    """List the streams with their routes."""
    address = broker_settings(broker, insecure)

    async def gather() -> FleetView:
        async with operator(address) as connection:
            return await look(connection, _FILTERS)

    view = run_command(gather)
    streams = [stream for _, stream in sorted(view.streams.items()) if stream.declaration is not None]
    if as_json:
        print_json([_document(stream, view) for stream in streams])
        return
    if not streams:
        notes_console().print("The fleet has no stream yet: segue stream add NAME --model MODEL --source DEVICE")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("stream", "model", "source", "state", "ms", "route, or reason for its absence"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "ms" else "left")
    for stream in streams:
        table.add_row(*_cells(stream, view))
    results_console().print(table)


def _troubles(stream: StreamView, view: FleetView) -> list[str]:
    """Return what keeps a stream's source, or a planner or collector, from its work."""
    source = None if stream.declaration is None else view.devices.get(stream.declaration.source)
    of_source = [] if source is None or source.presence is None else [(source.name, source.presence.trouble)]
    of_services = [(service.name, service.trouble) for service in view.services.values()]
    return [f"{name}: {trouble}" for name, trouble in (*of_source, *of_services) if trouble]


def _cells(stream: StreamView, view: FleetView) -> tuple[str, ...]:
    plan, status, declaration = stream.plan, stream.status, stream.declaration
    predicted_ms = None if plan is None else plan.routes[0].predicted_ms
    routes = [] if plan is None else [committed_routes_text(plan.routes)]
    return (
        stream.name,
        "" if declaration is None else view.model_name(declaration.model),
        "" if declaration is None else declaration.source,
        "unknown" if status is None else status.state.value,
        "" if predicted_ms is None else f"{predicted_ms:.1f}",
        "\n".join([*routes, *(() if status is None else status.reasons), *_troubles(stream, view)]),
    )


def _document(stream: StreamView, view: FleetView) -> dict[str, object]:
    return {
        "stream": stream.name,
        "declaration": None if stream.declaration is None else stream.declaration.model_dump(mode="json"),
        "status": None if stream.status is None else stream.status.model_dump(mode="json"),
        "plan": None if stream.plan is None else stream.plan.model_dump(mode="json"),
        "usage": None if stream.usage is None else stream.usage.model_dump(mode="json"),
        "troubles": _troubles(stream, view),
    }


def remove_stream_command(
    stream: StreamName, broker: Broker = None, insecure: Insecure = False, timeout_s: Timeout = 10.0
) -> None:
    """Withdraw a stream. Requests under way still get their outcomes."""
    check_name(stream)
    address = broker_settings(broker, insecure)

    async def withdraw() -> None:
        async with operator(address) as connection:
            view = await look(connection, (topics.stream(stream),))
            seen = view.streams.get(stream)
            if seen is None or seen.declaration is None:
                raise no_such_stream(stream)
            await withdraw_stream(connection, stream, seen.declaration.source)

    run_command(withdraw)
