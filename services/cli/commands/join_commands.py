"""`segue device join`: the account of a device, an application or a person on this machine."""

import ssl
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from services.cli.render.console import notes_console, results_console
from services.cli.support.broker_access import accounts_folder
from services.cli.support.command_runner import run_command
from services.cli.support.fleet_operations import operator
from shared.bus.errors import SettingsError
from shared.bus.roles import Role
from shared.bus.settings import BusSettings
from shared.bus.tls import client_context
from shared.enrolment import PREFIX, Enrolment
from shared.exit_status import InputError

_MAX_STRING: Final = 65_536
_NEXT: Final = {
    Role.DEVICE: "segue executor, and segue monitor; as services of the system: segue device install",
    Role.PLANNER: "segue planner",
    Role.COLLECTOR: "segue collector",
    Role.OPERATOR: "segue doctor",
    Role.VIEWER: "segue top",
    Role.APPLICATION: "segue submit PHOTO --stream STREAM",
}


def join_command(
    text: Annotated[
        str,
        typer.Argument(
            metavar="STRING", help="The enrolment string, `-` for standard input, or a file.", show_default=False
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Where to keep the account; the user's folder if not given.", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not try the account now.")] = False,
) -> None:
    """Join a fleet with an enrolment string (`segue fleet add-device`, `add-application`, `add-account`).

    Writes the account, with mode 600, and the certificate of the fleet's authority. From then on the services and
    commands of this user need neither --broker nor --device. With --folder, give the file to --broker or SEGUE_BROKER.

    On a command line others on this machine see the string for a moment: `-` reads it from standard input.
    """
    enrolment = Enrolment.from_text(_read(text))
    place = folder or accounts_folder()
    try:
        path = enrolment.write(place)
        settings = enrolment.settings(path)
        client_context(settings)
    except ssl.SSLError:
        raise SettingsError("the enrolment string has no certificate of an authority") from None
    except OSError as error:
        raise InputError(f"cannot write {error.filename or place}: {error.strerror or error}") from None
    console = results_console()
    console.print(f"{enrolment.account} ({enrolment.role.value}) has joined: {path}", soft_wrap=True, highlight=False)
    if not offline:
        run_command(lambda: _try_out(settings))
        console.print(f"the broker at {settings.address} lets it in", soft_wrap=True, highlight=False)
    notes_console().print(f"next: {_NEXT[enrolment.role]}", soft_wrap=True, highlight=False)


def _read(text: str) -> str:
    if text == "-":
        if sys.stdin.isatty():
            notes_console().print("paste the enrolment string, then Enter")
            return sys.stdin.readline(_MAX_STRING)
        return sys.stdin.read(_MAX_STRING)
    if text.startswith(PREFIX):
        return text
    try:
        with open(text, encoding="utf-8") as file:
            return file.read(_MAX_STRING)
    except (OSError, UnicodeDecodeError, ValueError):
        raise InputError(f"this is neither an enrolment string, which begins with {PREFIX!r}, nor a file") from None


async def _try_out(settings: BusSettings) -> None:
    async with operator(settings):
        pass
