"""`segue stream add`, `list` and `remove`."""

from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from services.cli.render.fleet_view import StreamView
from services.cli.support.command_runner import run_command
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.operations import declare_stream, look, operator, until_running, withdraw_stream
from services.cli.support.options import DEFAULT_BROKER, Broker, Json, Timeout, notes, output, print_json, settings
from services.cli.testbed.conditions import route_text
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.streams import StreamDeclaration, StreamState, StreamStatus
from shared.service_runtime import InputError

_FILTERS = ("models/+", "streams/+", "streams/+/plan", "streams/+/status", "streams/+/usage")

StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name.", show_default=False)]


def add(
    stream: StreamName,
    model: Annotated[str, typer.Option(help="The model's name, or its SHA-256.", show_default=False)],
    source: Annotated[str, typer.Option(help="The device at which requests arise.", show_default=False)],
    sink: Annotated[str | None, typer.Option(help="The device that wants the results, if it matters.")] = None,
    rate_hz: Annotated[float | None, typer.Option(min=0.0, help="Requests per second, if known.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Requests that come at once: the size of a burst.")] = 1,
    live: Annotated[bool, typer.Option("--live", help="When too many wait, keep the newest only.")] = False,
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait",
            help="Wait for a model that is not there yet, too; or do not even wait until the stream is routed.",
            show_default=False,
        ),
    ] = None,
    timeout_s: Timeout = 120.0,
    broker: Broker = DEFAULT_BROKER,
) -> None:
    """Declare a stream and wait until the planner has routed it.

    Adding a stream again changes it. Devices that have not yet measured the model do so first. A model that the fleet
    does not have is refused, unless --wait or --no-wait say that it will come.
    """
    for name in (stream, source, *([sink] if sink else [])):
        check_name(name)
    declaration = StreamDeclaration(
        stream=stream, model=model, source=source, sink=sink, rate_hz=rate_hz, jobs=jobs, live=live
    )
    address = settings(broker)

    async def declare() -> tuple[StreamStatus | None, StreamView | None]:
        async with operator(address) as connection:
            if wait is None:
                await _check_model(connection, model)
            await declare_stream(connection, declaration)
            if wait is False:
                return None, None
            status = await until_running(connection, stream, timeout_s=timeout_s, on_status=_say)
            view = await look(connection, _FILTERS)
            return status, view.streams.get(stream)

    status, view = run_command(declare)
    if status is not None and status.state is StreamState.INFEASIBLE:
        raise InfeasibleProblem("\n".join(status.reasons) or f"stream {stream} cannot be routed")
    if view is not None and view.plan is not None:
        output().print(f"{stream}: {route_text(view.plan.routes)} ({view.plan.reason})", soft_wrap=True)


def list_streams(broker: Broker = DEFAULT_BROKER, as_json: Json = False) -> None:
    """List the streams with their routes."""
    address = settings(broker)

    async def gather() -> list[tuple[StreamView, str]]:
        async with operator(address) as connection:
            view = await look(connection, _FILTERS)
            return [
                (stream, view.model_name(stream.declaration.model))
                for _, stream in sorted(view.streams.items())
                if stream.declaration is not None
            ]

    streams = run_command(gather)
    if as_json:
        print_json([_document(stream) for stream, _ in streams])
        return
    if not streams:
        notes().print("The fleet has no stream yet: segue stream add NAME --model MODEL --source DEVICE")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("stream", "model", "source", "state", "ms", "route, or what it waits for"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "ms" else "left")
    for stream, model in streams:
        table.add_row(*_cells(stream, model))
    output().print(table)


def remove(stream: StreamName, broker: Broker = DEFAULT_BROKER, timeout_s: Timeout = 10.0) -> None:
    """Withdraw a stream; requests under way still get their outcomes."""
    check_name(stream)
    address = settings(broker)

    async def withdraw() -> None:
        async with operator(address) as connection:
            view = await look(connection, (topics.stream(stream),))
            seen = view.streams.get(stream)
            if seen is None or seen.declaration is None:
                raise InputError(f"there is no stream {stream}; `segue stream list` shows those there are")
            await withdraw_stream(connection, stream, seen.declaration.source)

    run_command(withdraw)


async def _check_model(connection: Connection, model: str) -> None:
    """Refuse a model that the fleet does not have.

    Raises:
        InputError: with those that it has.
    """
    manifests = (await look(connection, ("models/+",))).manifests
    names = sorted(manifest.name for manifest in manifests.values())
    if model not in manifests and model not in names:
        there = f"there are {', '.join(names)}" if names else "it has none"
        raise InputError(f"the fleet has no model {model}, {there}: segue model add MODEL.onnx, or wait for it: --wait")


def _say(status: StreamStatus) -> None:
    if status.state is not StreamState.RUNNING:
        reasons = "; ".join(status.reasons)
        notes().print(f"{status.stream} is {status.state.value}{': ' if reasons else ''}{reasons}", soft_wrap=True)


def _cells(stream: StreamView, model: str) -> tuple[str, ...]:
    plan, status, declaration = stream.plan, stream.status, stream.declaration
    predicted = None if plan is None else plan.routes[0].predicted_ms
    return (
        stream.name,
        model,
        "" if declaration is None else declaration.source,
        "unknown" if status is None else status.state.value,
        "" if predicted is None else f"{predicted:.1f}",
        "\n".join([*([] if plan is None else [route_text(plan.routes)]), *(() if status is None else status.reasons)]),
    )


def _document(stream: StreamView) -> dict[str, object]:
    return {
        "stream": stream.name,
        "declaration": None if stream.declaration is None else stream.declaration.model_dump(mode="json"),
        "status": None if stream.status is None else stream.status.model_dump(mode="json"),
        "plan": None if stream.plan is None else stream.plan.model_dump(mode="json"),
        "usage": None if stream.usage is None else stream.usage.model_dump(mode="json"),
    }


def check_name(name: str) -> None:
    """Refuse what cannot be a name on the bus.

    Raises:
        InputError: with what names are.
    """
    if not topics.is_name(name):
        raise InputError(f"{name!r} is no name: 1 to 64 letters, digits, '_', '.', '-', the first a letter or digit")
