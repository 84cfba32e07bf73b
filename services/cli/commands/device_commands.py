"""`segue device list`, `segue device forget` and `segue device trust`."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.render.fleet_view import DeviceView, FleetView
from services.cli.render.refusal_text import refusal_texts
from services.cli.support.broker_access import accounts_folder
from services.cli.support.command_runner import run_command
from services.cli.support.fleet_operations import look, operator, retained_topics
from services.cli.support.options import Broker, Insecure, Json, broker_settings
from services.executor.trust_files import read_keys, write_keys
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.enrolment import Enrolment, account_file
from shared.exit_status import InputError
from shared.messages.devices import Presence, Profile
from shared.signatures import parse_keys
from shared.user_folders import state_folder, user_data_folder

_FILTERS: Final = ("devices/+/presence", "devices/+/links", "devices/+/profiles/+", "services/+/presence", "models/+")

DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="The device's name.", show_default=False)]


def list_devices_command(broker: Broker = None, insecure: Insecure = False, as_json: Json = False) -> None:
    """List the devices that are known on the bus, including those that are gone."""
    address = broker_settings(broker, insecure)

    async def gather() -> FleetView:
        async with operator(address) as connection:
            return await look(connection, _FILTERS)

    view = run_command(gather)
    devices = sorted(view.devices.values(), key=lambda device: device.name)
    if as_json:
        print_json([_document(device, view) for device in devices])
        return
    if not devices:
        notes_console().print("The fleet has no device yet: segue executor --device NAME, segue monitor --device NAME")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("device", "executor", "monitor", "links to", "models measured", "cannot run"):
        table.add_column(heading, overflow="fold")
    for device in devices:
        links = () if device.links is None else device.links.links
        table.add_row(
            device.name,
            _executor_text(device),
            _state(view.is_monitored(device.name)),
            ", ".join(dict.fromkeys(link.target for link in links)),
            "\n".join(_measured_text(view.model_name(model), profile) for model, profile in _measured(device)),
            "\n".join(refusal_texts(device, view.manifests)),
        )
    results_console().print(table)


def _measured(device: DeviceView) -> list[tuple[str, Profile]]:
    return [(model, profile) for model, profile in device.profiles.items() if profile.block_ms]


def _measured_text(model: str, profile: Profile) -> str:
    return f"{model} ({len(profile.row_times)} in tiles)" if profile.row_times else model


def _state(online: bool) -> str:
    return "online" if online else "offline"


def _executor_text(device: DeviceView) -> str:
    trouble = "" if device.presence is None else device.presence.trouble
    return f"{_state(device.is_online)}: {trouble}" if trouble else _state(device.is_online)


def _document(device: DeviceView, view: FleetView) -> dict[str, object]:
    return {
        "device": device.name,
        "executor": _state(device.is_online),
        "monitor": _state(view.is_monitored(device.name)),
        "presence": None if device.presence is None else _presence_document(device.presence),
        "links": None if device.links is None else device.links.model_dump(mode="json"),
        "models": sorted(model for model, _ in _measured(device)),
        "row_times": {
            model: None if profile.row_times is None else [each.model_dump(mode="json") for each in profile.row_times]
            for model, profile in _measured(device)
        },
        "cannot_run": list(refusal_texts(device, view.manifests)),
    }


def _presence_document(presence: Presence) -> dict[str, object]:
    # The token lets a process connect to the device.
    return presence.model_dump(mode="json", exclude={"direct": {"token"}})


def forget_device_command(device: DeviceArgument, broker: Broker = None, insecure: Insecure = False) -> None:
    """Forget a device that is gone permanently, or whose name was mistyped.

    Clears the device's retained messages: presence, links, profiles, emulation. A device that is online is refused:
    stop its executor and its monitor first. A device that comes back announces itself again.
    """
    if not topics.is_name(device):
        raise InputError(f"{device!r} is no name of a device")
    address = broker_settings(broker, insecure)
    cleared, sources = run_command(lambda: _forget(address, device))
    if not cleared:
        raise InputError(f"there is no device {device}; `segue device list` lists those there are")
    results_console().print(f"{device} is forgotten: {', '.join(cleared)}", soft_wrap=True)
    for stream in sources:
        notes_console().print(f"stream {stream} still begins there: segue stream remove {stream}", soft_wrap=True)


def trust_planner_command(
    device: DeviceArgument,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="Keys of the planners to follow; as the planner's log shows them."),
    ] = None,
    any_planner: Annotated[
        bool, typer.Option("--any", help="Forget the keys, and follow the next planner that is seen.")
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="SEGUE_DATA_DIR", help="Data folder of the executor.", show_default=False),
    ] = None,
) -> None:
    """Show or change which planners the executor of this machine follows.

    Run it on the device, as the user of its executor: it changes a file in the executor's data folder, not the fleet. A
    running executor takes the change over within a second. Without a key it prints those that are followed.
    """
    if not topics.is_name(device):
        raise InputError(f"{device!r} is no name of a device")
    if keys and any_planner:
        raise InputError("give keys, or --any")
    folder = state_folder(data_dir or user_data_folder(), device)
    if not folder.is_dir():
        raise InputError(f"no executor of device {device} has run here: there is no folder {folder}")
    try:
        if keys or any_planner:
            write_keys(folder, parse_keys(keys or ()))
        followed = read_keys(folder)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None
    text = ", ".join(followed) or "the first planner that it sees, and it has seen none that signs"
    results_console().print(f"{device} follows {text}", soft_wrap=True)
    account = account_file(accounts_folder(), device)
    if account.exists():
        given = ", ".join(Enrolment.read(account).planner_keys)
        notes_console().print(
            f"an executor with the account {account} follows {given} whatever is set here", soft_wrap=True
        )


async def _forget(address: BusSettings, device: str) -> tuple[list[str], list[str]]:
    """Clear what is retained of a device; return the cleared topics and the streams whose source it is.

    Raises:
        InputError: the device is online.
    """
    async with operator(address) as connection:
        view = await look(connection, (*_FILTERS, "streams/+"))
    is_executing = device in view.devices and view.devices[device].is_online
    roles = {"executor": is_executing, "monitor": view.is_monitored(device)}
    online = [role for role, is_online in roles.items() if is_online]
    if online:
        raise InputError(f"device {device} is there: stop its {' and its '.join(online)} first")
    # A second connection: the first one's subscriptions would mix other devices' topics in.
    async with operator(address) as connection:
        filters = (
            f"devices/{device}/+",
            f"devices/{device}/profiles/+",
            topics.service_presence(topics.monitor_name(device)),
        )
        cleared = await retained_topics(connection, filters)
        for topic in cleared:
            await connection.publish(topic, b"", qos=1, retain=True)
    sources = [
        stream.name
        for stream in view.streams.values()
        if stream.declaration is not None and stream.declaration.source == device
    ]
    return cleared, sources
