"""`segue device install` and `segue fleet install`: services that start with the machine; and their removal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from broker.broker_files import MOSQUITTO_USER, give_to, user_of_broker
from broker.fleet_folder import FleetFolder
from broker.mosquitto import NOT_INSTALLED, find_mosquitto
from services.cli.commands.closed_fleet_commands import FLEET, Fleet
from services.cli.render.console import notes_console, results_console
from services.cli.support.broker_access import joined_account
from services.cli.support.service_units import (
    DEVICE_ROLES,
    SERVER_ROLES,
    SYSUSERS_TEXT,
    ServiceUnit,
    broker_unit,
    service_unit,
)
from services.cli.support.unit_installer import (
    SYSUSERS_FILE,
    UNIT_FOLDER,
    check_program,
    check_reachable,
    check_systemd,
    install,
    installed,
    kept_text,
    own_program,
    uninstall,
)
from shared.bus.roles import Role
from shared.enrolment import Enrolment
from shared.exit_status import InputError

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the units and commands, and change nothing.")]
_DEVICE_COMMAND: Final = "segue device install"
_SERVER_COMMAND: Final = "segue fleet install"


def install_device_command(
    account: Annotated[
        Path | None,
        typer.Option(
            "--account",
            metavar="FILE",
            help="The device's account; the one that has joined as this user if not given.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Let executor and monitor start with this machine, as services of systemd. Needs root, after `device join`.

    They run as the user segue, hardened, with limits, and are started again when they end or hang. The account stays
    where it is; services get a copy. Options are environment variables in /etc/segue/segue.env. Run it again after the
    device has joined anew.
    """
    path = account or joined_account((Role.DEVICE,))
    if path is None:
        raise InputError("no device has joined here: `sudo segue device join -` first, or name its account, --account")
    enrolment = Enrolment.read(path)
    if enrolment.role is not Role.DEVICE:
        raise InputError(f"{path} is the account of the role {enrolment.role}: `segue fleet install` installs servers")
    program = own_program()
    units = [service_unit(role, enrolment.account, path.absolute(), program, _DEVICE_COMMAND) for role in DEVICE_ROLES]
    _install(units, program, DEVICE_ROLES, dry_run)


def install_server_command(
    fleet: Fleet = FLEET,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="Only this one: broker, planner or collector; repeat it.", show_default=False),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(
            "--site",
            metavar="DIR",
            help="Instead: the broker of a further site, from `segue fleet bridge`.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Let broker, planner and collector of a fleet start with this machine, as services of systemd. Needs root.

    Mosquitto runs as its own user, and reads what `segue fleet` writes into the folder. Planner and collector run as
    the user segue. Options are environment variables in /etc/segue/segue.env.
    """
    program = own_program()
    if site is not None:
        _install([_site_unit(site.absolute(), dry_run)], program, (), dry_run)
        return
    roles = _server_roles(role)
    opened = FleetFolder.open(fleet)
    if not dry_run:
        check_systemd()
        if "broker" in roles:
            opened = _prepared_for_broker(fleet)
    units = [_server_unit(each, opened, program) for each in roles]
    _install(units, program, tuple(each for each in roles if each != "broker"), dry_run)


def uninstall_device_command(dry_run: DryRun = False) -> None:
    """Stop executor and monitor of this machine, and remove their units. The account and all data stay."""
    _uninstall(DEVICE_ROLES, dry_run)


def uninstall_server_command(dry_run: DryRun = False) -> None:
    """Stop broker, planner and collector of this machine, and remove their units. The fleet and all data stay."""
    _uninstall(SERVER_ROLES, dry_run)


def _server_roles(given: Sequence[str] | None) -> tuple[str, ...]:
    unknown = set(given or ()) - set(SERVER_ROLES)
    if unknown:
        raise InputError(f"--role {', '.join(sorted(unknown))}: use {', '.join(SERVER_ROLES)}")
    return tuple(each for each in SERVER_ROLES if not given or each in given)


def _server_unit(role: str, fleet: FleetFolder, program: Path) -> ServiceUnit:
    if role != "broker":
        return service_unit(role, None, fleet.account_file(role), program, _SERVER_COMMAND)
    return _mosquitto_unit(fleet.configuration, fleet.broker_user())


def _site_unit(folder: Path, dry_run: bool) -> ServiceUnit:
    """Return the unit of a site's Mosquitto, to whose user the folder is given.

    Raises:
        InputError: the folder is none of a site, or cannot be reached.
    """
    configuration = folder / "mosquitto.conf"
    if not configuration.is_file():
        raise InputError(f"there is no broker of a site in {folder}: `segue fleet bridge` writes one")
    user = user_of_broker(folder.parent)
    if not dry_run:
        check_systemd()
        check_reachable(folder, "move it to /etc/segue/site, and write it for this path")
        give_to(folder, user)
    return _mosquitto_unit(configuration, user)


def _mosquitto_unit(configuration: Path, user: str | None) -> ServiceUnit:
    mosquitto = find_mosquitto()
    if mosquitto is None:
        raise InputError(NOT_INSTALLED)
    return broker_unit(configuration, user or MOSQUITTO_USER, Path(mosquitto), _SERVER_COMMAND)


def _prepared_for_broker(path: Path) -> FleetFolder:
    """Return the fleet, its broker's files written again and given to Mosquitto's user.

    Raises:
        InputError: Mosquitto would not reach them, or runs already.
    """
    check_reachable(path.absolute() / "broker", "move the fleet to /etc/segue/fleet, for example")
    try:
        with FleetFolder.changing(path) as fleet:
            running = fleet.broker_process()
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror or error}") from None
    if running is not None and not installed(("broker",)):
        raise InputError(f"the broker of this fleet runs already, as process {running.pid}: stop it first")
    return fleet


def _install(units: Sequence[ServiceUnit], program: Path, roles: Sequence[str], dry_run: bool) -> None:
    console = results_console()
    names = " ".join(unit.name for unit in units)
    if dry_run:
        for unit in units:
            typer.echo(f"# {UNIT_FOLDER / unit.name}\n{unit.text}")
        typer.echo(f"# {SYSUSERS_FILE}\n{SYSUSERS_TEXT}")
        typer.echo(f"systemd-sysusers {SYSUSERS_FILE}\nsystemctl daemon-reload\nsystemctl enable {names}")
        typer.echo(f"systemctl restart {names}")
        return
    check_systemd()
    check_program(program, roles)
    install(units)
    console.print(f"installed and started: {names}", soft_wrap=True, highlight=False)
    notes_console().print(f"their logs: journalctl -u {units[0].name}; options: /etc/segue/segue.env", soft_wrap=True)


def _uninstall(roles: Sequence[str], dry_run: bool) -> None:
    names = installed(roles)
    if not names:
        raise InputError(f"none of these services is installed here: {', '.join(roles)}")
    if dry_run:
        typer.echo(f"systemctl disable --now {' '.join(names)}")
        typer.echo(f"rm {' '.join(str(UNIT_FOLDER / name) for name in names)}\nsystemctl daemon-reload")
        return
    check_systemd()
    uninstall(names)
    results_console().print(f"removed: {' '.join(names)}", soft_wrap=True, highlight=False)
    notes_console().print(kept_text(), soft_wrap=True)
