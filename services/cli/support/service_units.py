"""Units of systemd for the services of a device and of a server, as text.

The text that all units share is `services/cli/data/systemd/service.template`. Accounts are credentials
(systemd.exec(5), LoadCredential=): the service's user reads a copy, and the file itself stays with root.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from shared.enrolment import authority_file
from shared.exit_status import InputError

SERVICE_USER: Final = "segue"
# Where units keep their data: a folder per service, which systemd makes and gives to its user.
STATE_FOLDER: Final = Path("/var/lib/segue")
SYSUSERS_TEXT: Final = f'u {SERVICE_USER} - "Segue" {STATE_FOLDER}\n'
# Longest silence of a service's event loop. Its start counts, which takes half a minute on the smallest devices.
_WATCHDOG_S: Final = 90
# What a unit file takes without quotes and escapes (systemd.syntax(7), systemd.service(5)).
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9_./+@-]*")
# With room for other processes of the machine. The executor plans with what its control group leaves to it.
_LIMITS: Final[dict[str, tuple[str, ...]]] = {
    "executor": ("MemoryMax=80%", "TasksMax=512", "CPUWeight=80", "OOMScoreAdjust=300"),
    "monitor": ("MemoryMax=192M", "TasksMax=64", "CPUWeight=200", "OOMScoreAdjust=-200"),
    "planner": ("MemoryMax=80%", "TasksMax=256"),
    "collector": ("MemoryMax=50%", "TasksMax=128"),
    "broker": ("TasksMax=64", "OOMScoreAdjust=-500"),
}
DEVICE_ROLES: Final = ("executor", "monitor")
SERVER_ROLES: Final = ("broker", "planner", "collector")


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """A unit file.

    Attributes:
        name: of the file.
        text: its content.
    """

    name: str
    text: str


def unit_name(role: str) -> str:
    """Return the name of the unit of a role."""
    return f"segue-{role}.service"


def service_unit(role: str, device: str | None, account_path: Path, program: Path, command: str) -> ServiceUnit:
    """Return the unit of an executor, monitor, planner or collector.

    Args:
        role: the service, as its command is called.
        device: its device; None for a service of the fleet.
        account_path: the account's file; its authority's certificate lies beside it.
        program: the `segue` program.
        command: the command that writes the unit, for its heading.

    Raises:
        InputError: a path has characters that a unit file does not take as they are.
    """
    start = (
        f"{_plain(program)} {role} --broker ${{CREDENTIALS_DIRECTORY}}/account.json --connect-timeout-s 0 "
        f"--data-dir {STATE_FOLDER}/{role}"
    )
    lines = (
        f"LoadCredential=account.json:{_plain(account_path)}",
        f"LoadCredential=account.ca.pem:{_plain(authority_file(account_path))}",
        f"StateDirectory=segue/{role}",
        "StateDirectoryMode=0700",
        # All services answer `segue health` in it; one that ends leaves it to the others.
        "RuntimeDirectory=segue",
        "RuntimeDirectoryPreserve=yes",
        # Not Type=notify: multi-user.target would wait until the broker is reached, and no watchdog would watch until
        # then.
        "NotifyAccess=main",
        f"WatchdogSec={_WATCHDOG_S}",
        f"Environment=HOME={STATE_FOLDER}/{role}",
        *_LIMITS[role],
    )
    after = f" {unit_name('broker')}" if role in SERVER_ROLES else ""
    description = role if device is None else f"{role} of {device}"
    return _unit(role, description, SERVICE_USER, start, lines, after, command)


def broker_unit(configuration: Path, user: str, mosquitto: Path, command: str) -> ServiceUnit:
    """Return the unit of a fleet's Mosquitto.

    Args:
        configuration: its configuration, in the folder of its other files.
        user: the owner of that folder.
        mosquitto: the server.
        command: the command that writes the unit, for its heading.

    Raises:
        InputError: a path has characters that a unit file does not take as they are.
    """
    start = f"{_plain(mosquitto)} -c {_plain(configuration)}"
    lines = (
        "ExecReload=/bin/kill -HUP $MAINPID",
        f"ReadWritePaths={configuration.parent}",
        "LimitNOFILE=16384",
        *_LIMITS["broker"],
    )
    return _unit("broker", "broker (Mosquitto)", user, start, lines, "", command)


def _unit(
    role: str, description: str, user: str, start: str, lines: Iterable[str], after: str, command: str
) -> ServiceUnit:
    template = Template((files("services.cli.data") / "systemd" / "service.template").read_text(encoding="utf-8"))
    name = unit_name(role)
    text = template.substitute(
        command=command,
        name=name,
        description=description,
        after=after,
        user=user,
        start=start,
        lines="\n".join(lines),
    )
    return ServiceUnit(name, text)


def _plain(path: Path) -> str:
    text = str(path)
    if _PLAIN_PATH.fullmatch(text) is None:
        raise InputError(
            f"{text!r} cannot stand in a unit file: use a path of letters, digits and '_', '.', '-', '+', '@', '/'"
        )
    return text
