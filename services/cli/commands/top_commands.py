"""`segue top`: a live picture of the fleet."""

import asyncio
import time
from typing import Annotated, Final

import typer
from rich.live import Live
from rich.text import Text

from services.cli.render.console import print_json, results_console
from services.cli.render.fleet_view import FleetView
from services.cli.render.live_screen import fleet_screen
from services.cli.support.command_runner import run_command
from services.cli.support.fleet_operations import follow, listen, operator
from services.cli.support.options import Broker, Insecure, Json, broker_settings
from shared.bus.settings import BusSettings

_REFRESH_S: Final = 0.25
_LISTEN_S: Final = 2.0


def top_command(
    once: Annotated[bool, typer.Option("--once", help="Print the present state and exit.")] = False,
    duration_s: Annotated[float | None, typer.Option(min=0.1, help="Stop after this time, in seconds.")] = None,
    broker: Broker = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Watch devices, links, routes, latency and events. Ctrl-C ends it.

    With --json, or if the output is no terminal, the present state is printed once.
    """
    address = broker_settings(broker, insecure)
    console = results_console()
    if once or as_json or not console.is_terminal:
        view = run_command(lambda: listen(address, duration_s or _LISTEN_S))
        if as_json:
            print_json(_document(view))
        else:
            console.print(fleet_screen(view, time.time()))
        return
    run_command(lambda: _watch(address, duration_s))


async def _watch(address: BusSettings, duration_s: float | None) -> None:
    view, console = FleetView(), results_console()
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
