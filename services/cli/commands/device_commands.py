"""`segue device list` and `segue device forget`."""

import asyncio
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from services.cli.render.fleet_view import DeviceView, FleetView
from services.cli.support.command_runner import run_command
from services.cli.support.operations import look, operator
from services.cli.support.options import DEFAULT_BROKER, Broker, Json, notes, output, print_json, settings
from services.monitor.config import MONITOR_PREFIX
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.devices import State
from shared.service_runtime import InputError

_FILTERS = ("devices/+/presence", "devices/+/links", "devices/+/profiles/+", "services/+/presence", "models/+")
_QUIET_S = 0.4


def list_devices(broker: Broker = DEFAULT_BROKER, as_json: Json = False) -> None:
    """List the devices that the fleet knows, those included that are gone."""
    address = settings(broker)

    async def gather() -> FleetView:
        async with operator(address) as connection:
            return await look(connection, _FILTERS)

    view = run_command(gather)
    devices = sorted(view.devices.values(), key=lambda device: device.name)
    if as_json:
        print_json([_document(device, view) for device in devices])
        return
    if not devices:
        notes().print("The fleet has no device yet: segue executor --device NAME, segue monitor --device NAME")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("device", "executor", "monitor", "links to", "models measured"):
        table.add_column(heading, overflow="fold")
    for device in devices:
        links = () if device.links is None else device.links.links
        table.add_row(
            device.name,
            "online" if device.is_online else "offline",
            "online" if _is_monitored(device.name, view) else "offline",
            ", ".join(link.target for link in links),
            ", ".join(view.model_name(model) for model in device.profiles),
        )
    output().print(table)


def forget(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device's name.", show_default=False)],
    broker: Broker = DEFAULT_BROKER,
) -> None:
    """Forget a device that is gone for good, or whose name was mistyped.

    Clears what the broker keeps of it: presence, links, profiles, emulation. A device that is there is refused: stop
    its executor and its monitor first. One that comes back is known again.
    """
    if not topics.is_name(device):
        raise InputError(f"{device!r} is no name of a device")
    address = settings(broker)

    async def clear() -> tuple[list[str], list[str]]:
        async with operator(address) as connection:
            view = await look(connection, (*_FILTERS, "streams/+"))
            here = [
                role
                for role, online in (
                    ("executor", device in view.devices and view.devices[device].is_online),
                    ("monitor", _is_monitored(device, view)),
                )
                if online
            ]
            if here:
                raise InputError(f"device {device} is there: stop its {' and its '.join(here)} first")
        async with operator(address) as connection:
            kept = await _kept(connection, device)
            for topic in kept:
                await connection.publish(topic, b"", qos=1, retain=True)
        sources = [
            stream.name
            for stream in view.streams.values()
            if stream.declaration is not None and stream.declaration.source == device
        ]
        return kept, sources

    kept, sources = run_command(clear)
    if not kept:
        raise InputError(f"the fleet knows no device {device}; `segue device list` shows those that it knows")
    output().print(f"{device} is forgotten: {', '.join(kept)}", soft_wrap=True)
    for stream in sources:
        notes().print(f"stream {stream} still begins there: segue stream remove {stream}", soft_wrap=True)


async def _kept(connection: Connection, device: str) -> list[str]:
    """Return the topics on which the broker keeps something of a device, once none has come for a while."""
    for topic_filter in (
        f"devices/{device}/+",
        f"devices/{device}/profiles/+",
        topics.service_presence(_monitor(device)),
    ):
        await connection.subscribe(topic_filter)
    found: set[str] = set()
    while True:
        try:
            async with asyncio.timeout(_QUIET_S):
                received = await anext(connection)
        except TimeoutError:
            return sorted(found)
        if received.payload:
            found.add(received.topic)


def _monitor(device: str) -> str:
    return f"{MONITOR_PREFIX}{device}"


def _is_monitored(device: str, view: FleetView) -> bool:
    monitor = view.services.get(_monitor(device))
    return monitor is not None and monitor.state is State.ONLINE


def _document(device: DeviceView, view: FleetView) -> dict[str, object]:
    return {
        "device": device.name,
        "executor": "online" if device.is_online else "offline",
        "monitor": "online" if _is_monitored(device.name, view) else "offline",
        "presence": None if device.presence is None else device.presence.model_dump(mode="json"),
        "links": None if device.links is None else device.links.model_dump(mode="json"),
        "models": sorted(device.profiles),
    }
