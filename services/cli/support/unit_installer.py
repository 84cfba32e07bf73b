"""Units of systemd on this machine: written, enabled and started, or stopped and removed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from services.cli.support.health_checks import missing_packages
from services.cli.support.service_units import STATE_FOLDER, SYSUSERS_TEXT, ServiceUnit, unit_name
from shared.exit_status import InputError

UNIT_FOLDER: Final = Path("/etc/systemd/system")
SYSUSERS_FILE: Final = Path("/etc/sysusers.d/segue.conf")
# Exists exactly while systemd is the first process (sd_booted(3)).
_BOOTED: Final = Path("/run/systemd/system")
# Units have ProtectHome=yes: their services see nothing there.
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_TIMEOUT_S: Final = 120


def own_program() -> Path:
    """Return the `segue` program beside the Python that runs this one."""
    return Path(sys.executable).with_name("segue")


def check_program(program: Path, roles: Iterable[str]) -> None:
    """Check that the services' user can run a program, and that it has the packages of some roles.

    Raises:
        InputError: it cannot, or a package is missing; the text has the remedy.
    """
    remedy = "python3 -m venv /opt/segue && /opt/segue/bin/pip install 'segue[all]', then /opt/segue/bin/segue ..."
    if not program.is_file():
        raise InputError(f"there is no program {program}: install Segue for the whole machine: {remedy}")
    for path in (program, Path(sys.executable).resolve()):
        check_reachable(path, f"install Segue for the whole machine: {remedy}")
    for role in roles:
        missing = missing_packages(role)
        if missing:
            raise InputError(f"the {role} needs {', '.join(missing)}: pip install 'segue[{role}]'")


def check_reachable(path: Path, remedy: str) -> None:
    """Check that a service, which has a user of its own and sees no home folder, reaches a path.

    Raises:
        InputError: it does not; the text ends with the remedy.
    """
    if any(path.is_relative_to(home) for home in _HOMES):
        raise InputError(f"{path} is in a home folder, which a service does not see: {remedy}")
    closed = [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
    if closed:
        raise InputError(f"other users cannot pass through {closed[-1]}: {remedy}")


def check_systemd() -> None:
    """Check that units can be installed on this machine by this user.

    Raises:
        InputError: systemd does not run here, or this is not root.
    """
    if not _BOOTED.is_dir() or shutil.which("systemctl") is None:
        raise InputError(
            "systemd does not run this machine: `--dry-run` shows the units; start the services by other means, such "
            "as containers (docs/deployment.md)"
        )
    if os.geteuid() != 0:
        raise InputError("only root installs services: run it with sudo; `--dry-run` shows what it would write")


def install(units: Sequence[ServiceUnit]) -> None:
    """Write units, make the services' user, and enable and start the services.

    A running service is started again, so that it has the new unit.

    Raises:
        InputError: a file cannot be written, or systemd refuses; the text has its words.
    """
    try:
        SYSUSERS_FILE.parent.mkdir(parents=True, exist_ok=True)
        SYSUSERS_FILE.write_text(SYSUSERS_TEXT, encoding="ascii")
        for unit in units:
            (UNIT_FOLDER / unit.name).write_text(unit.text, encoding="ascii")
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror}") from None
    names = [unit.name for unit in units]
    _run("systemd-sysusers", str(SYSUSERS_FILE))
    _run("systemctl", "daemon-reload")
    _run("systemctl", "enable", "--quiet", *names)
    _run("systemctl", "restart", *names)


def installed(roles: Iterable[str]) -> list[str]:
    """Return the names of the units of some roles that are installed."""
    return [unit_name(role) for role in roles if (UNIT_FOLDER / unit_name(role)).exists()]


def uninstall(names: Sequence[str]) -> None:
    """Stop and disable services, and remove their units. Accounts and data stay.

    Raises:
        InputError: systemd refuses, or a file cannot be removed.
    """
    _run("systemctl", "disable", "--now", "--quiet", *names)
    try:
        for name in names:
            (UNIT_FOLDER / name).unlink()
    except OSError as error:
        raise InputError(f"cannot remove {error.filename}: {error.strerror}") from None
    _run("systemctl", "daemon-reload")


def kept_text() -> str:
    """Return what `uninstall` leaves, in one line."""
    return f"accounts and data stay: remove {STATE_FOLDER} if nothing of it is needed"


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"{' '.join(command[:2])}: {'; '.join(words)}")
