"""`segue top`: the fleet, live."""

import asyncio
import contextlib
import time
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from services.cli.render.fleet_view import FleetView
from services.cli.render.live_screen import fleet_screen
from services.cli.support.command_runner import run_command
from services.cli.support.operations import follow, operator
from services.cli.support.options import DEFAULT_BROKER, Broker, Json, output, print_json, settings
from shared.bus.settings import BusSettings

_REFRESH_S = 0.25


def top(
    once: Annotated[bool, typer.Option("--once", help="Print the present state and exit.")] = False,
    duration_s: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
    broker: Broker = DEFAULT_BROKER,
    as_json: Json = False,
) -> None:
    """Watch devices, links, routes, latency and events. Ctrl-C ends it.

    Where the output is no terminal, or with --json, the present state is printed once.
    """
    address = settings(broker)
    console = output()
    if once or as_json or not console.is_terminal:
        view = run_command(lambda: _gather(address, duration_s or 2.0))
        if as_json:
            print_json(_document(view))
        else:
            console.print(fleet_screen(view, time.time()))
        return
    run_command(lambda: _watch(address, duration_s))


async def _gather(address: BusSettings, patience_s: float) -> FleetView:
    """Return the retained state, and what else comes in within `patience_s`."""
    view = FleetView()
    async with operator(address) as connection:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await follow(connection, view)
    return view


async def _watch(address: BusSettings, duration_s: float | None) -> None:
    view, console = FleetView(), output()
    heading = Text(f"Segue at {address.address}    Ctrl-C ends", style="bold")
    async with operator(address) as connection:
        following = asyncio.create_task(follow(connection, view), name="follow the fleet")
        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                async with asyncio.timeout(duration_s):
                    while not following.done():
                        live.update(fleet_screen(view, time.time(), heading, height=console.height), refresh=True)
                        await asyncio.sleep(_REFRESH_S)
                await following
        except TimeoutError:
            return
        finally:
            following.cancel()


def _document(view: FleetView) -> dict[str, object]:
    return {
        "devices": {
            name: {
                "online": device.is_online,
                "load_factor": device.load_factor,
                "telemetry": None if device.telemetry is None else device.telemetry.model_dump(mode="json"),
                "links": [] if device.links is None else [link.model_dump(mode="json") for link in device.links.links],
            }
            for name, device in sorted(view.devices.items())
        },
        "services": {name: service.state.value for name, service in sorted(view.services.items())},
        "streams": {
            name: {
                "model": None if stream.declaration is None else view.model_name(stream.declaration.model),
                "plan": None if stream.plan is None else stream.plan.model_dump(mode="json"),
                "status": None if stream.status is None else stream.status.model_dump(mode="json"),
            }
            for name, stream in sorted(view.streams.items())
        },
    }
