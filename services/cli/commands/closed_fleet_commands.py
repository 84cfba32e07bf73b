"""`segue fleet`: a fleet that is closed to others, its accounts and their rights."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import psutil
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from broker.fleet_folder import FleetFolder
from services.cli.render.console import notes_console, print_json, results_console
from services.cli.support.command_runner import run_command
from services.cli.support.enrolment_output import EnrolmentOut, QrCode, deliver
from services.cli.support.options import Json, StreamName
from services.cli.support.output_files import check_file
from shared.bus.exposure import is_loopback
from shared.bus.roles import Role
from shared.bus.settings import DEFAULT_ROOT, DEFAULT_TLS_PORT
from shared.enrolment import Enrolment, settings_from
from shared.exit_status import InputError

_T = TypeVar("_T")

Fleet = Annotated[
    Path, typer.Option("--fleet", envvar="SEGUE_FLEET", metavar="DIR", help="The fleet's folder, from `fleet init`.")
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        help="Name or address under which devices reach the broker; repeat it, the first is the one they use. Not "
        "given: this machine's addresses and name.",
        show_default=False,
    ),
]
AtSite = Annotated[
    str | None,
    typer.Option("--site", help="The site whose broker it uses (`segue fleet bridge`).", show_default=False),
]
AccountName = Annotated[str, typer.Argument(metavar="NAME", help="The account's name.", show_default=False)]
FLEET: Final = Path("fleet")


def init_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")] = FLEET,
    host: Hosts = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port of the broker.")] = DEFAULT_TLS_PORT,
    root: Annotated[str, typer.Option(help="Prefix of every topic.")] = DEFAULT_ROOT,
) -> None:
    """Make a fleet: its authority, the broker's certificate, accounts and access rules.

    Run it on the broker's machine. The folder holds secrets: keep it there, and keep a backup. The accounts of planner,
    collector, operator and viewer are files in DIR/accounts, for `--broker` and SEGUE_BROKER.
    """
    hosts = tuple(host or _own_hosts())
    fleet = _written(lambda: FleetFolder.create(folder, hosts, port, root))
    results_console().print(
        f"a fleet is in {folder}; its broker is reached at {', '.join(hosts)}, port {port}\n"
        f"start it:    segue broker --fleet {folder}\n"
        f"services:    segue planner --broker {fleet.accounts}/planner.json; segue collector --broker "
        f"{fleet.accounts}/collector.json\n"
        f"people:      export SEGUE_BROKER={fleet.accounts}/operator.json\n"
        f"devices:     segue fleet add-device NAME --fleet {folder}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def add_device_command(
    name: AccountName, fleet: Fleet = FLEET, site: AtSite = None, out: EnrolmentOut = None, qr: QrCode = False
) -> None:
    """Add a device, and print its enrolment string: type `segue device join -` there, and paste it.

    The string holds the password of the device. It is not kept here; `segue fleet rotate NAME` makes another one.
    """
    _add(fleet, name, Role.DEVICE, (), site, out, qr)


def add_application_command(
    name: AccountName,
    stream: Annotated[list[str], typer.Option("--stream", help="A stream to which it sends requests; repeat it.")],
    fleet: Fleet = FLEET,
    site: AtSite = None,
    out: EnrolmentOut = None,
    qr: QrCode = False,
) -> None:
    """Add an application, and print its enrolment string.

    It may publish requests to its streams, and read their results and what is below `replies/NAME`. Nothing else.
    """
    _add(fleet, name, Role.APPLICATION, tuple(dict.fromkeys(stream)), site, out, qr)


def add_account_command(
    name: AccountName,
    role: Annotated[Role, typer.Option(help="What its holder is.", show_default=False)],
    fleet: Fleet = FLEET,
    out: EnrolmentOut = None,
    qr: QrCode = False,
) -> None:
    """Add a further operator, viewer or collector, and print its enrolment string."""
    if role is Role.PLANNER and name != Role.PLANNER.value:
        # Its name is that of the library from which devices fetch models.
        raise InputError("a fleet has one planner, and its account is called planner")
    if role in (Role.DEVICE, Role.APPLICATION):
        raise InputError(f"segue fleet add-{role.value} {name} adds it")
    _add(fleet, name, role, (), None, out, qr)


def add_stream_command(
    stream: StreamName,
    source: Annotated[str, typer.Option(metavar="DEVICE", help="The device that receives its requests.")],
    fleet: Fleet = FLEET,
) -> None:
    """Let a device receive the requests of a stream, and no other device.

    `segue stream add` declares the stream afterwards. Given again with another device, the right moves there.
    """

    def change() -> bool:
        with FleetFolder.changing(fleet) as opened:
            opened.record = opened.record.with_stream(stream, source)
        return opened.reload_broker()

    is_running = _written(change)
    results_console().print(f"the requests of {stream} go to {source}", soft_wrap=True)
    _note_reload(fleet, is_running)


def revoke_command(name: AccountName, fleet: Fleet = FLEET) -> None:
    """Remove an account. The running broker disconnects its holder and lets it in no more.

    Of a device it is published at once that it is gone, so that routes avoid it. `segue device forget NAME` clears what
    the broker keeps of it.
    """

    def change() -> tuple[FleetFolder, Role, bool]:
        with FleetFolder.changing(fleet) as opened:
            role = opened.record.account(name).role
            opened.revoke(name)
        return opened, role, opened.reload_broker()

    opened, role, is_running = _written(change)
    results_console().print(f"{name} has no account any more", soft_wrap=True)
    _note_reload(fleet, is_running)
    operator_file = opened.account_file(Role.OPERATOR.value)
    if role is Role.DEVICE and is_running and operator_file.exists():
        # It loads the bus, which no other command of the group needs.
        from services.cli.support.fleet_operations import publish_offline

        run_command(lambda: publish_offline(settings_from(str(operator_file)), name))


def rotate_command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The account; not given: the broker's certificate.")
    ] = None,
    fleet: Fleet = FLEET,
    out: EnrolmentOut = None,
    qr: QrCode = False,
) -> None:
    """Give an account a new password, or the broker a new certificate and key.

    An account's holder is disconnected at once, and joins again with the new enrolment string. The accounts in
    DIR/accounts are replaced there instead: restart what uses them. Of a new certificate nobody notices anything.
    """

    check_file("--out", out)

    def change() -> tuple[Enrolment | None, bool, bool]:
        enrolment, is_kept = None, False
        with FleetFolder.changing(fleet) as opened:
            if name is None:
                opened.rotate_certificate()
            else:
                enrolment = opened.rotate(name)
                is_kept = opened.account_file(name).exists()
                if is_kept:
                    enrolment.write(opened.accounts)
        return enrolment, is_kept, opened.reload_broker()

    enrolment, is_kept, is_running = _written(change)
    if enrolment is None:
        results_console().print("the broker has a new certificate", soft_wrap=True)
    elif is_kept:
        results_console().print(f"{name} has a new password, in {fleet / 'accounts'}", soft_wrap=True)
    else:
        deliver(enrolment, out, qr)
    _note_reload(fleet, is_running)


def list_command(fleet: Fleet = FLEET, as_json: Json = False) -> None:
    """List the accounts of a fleet with their streams."""
    opened = FleetFolder.open(fleet)
    accounts = opened.record.rights()
    if as_json:
        print_json(
            {
                "hosts": opened.record.hosts,
                "port": opened.record.port,
                "accounts": [
                    {
                        "name": each.name,
                        "role": each.role.value,
                        "streams": list(each.streams),
                        "site": opened.record.account(each.name).site,
                    }
                    for each in accounts
                ],
                "sites": [{"name": each.name, "hosts": each.hosts, "port": each.port} for each in opened.record.sites],
            }
        )
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("account", "role", "site", "streams"):
        table.add_column(heading, overflow="fold")
    for each in accounts:
        site = opened.record.account(each.name).site
        table.add_row(each.name, each.role.value, site or "", ", ".join(each.streams))
    results_console().print(table)
    state = "runs here" if opened.broker_process() else "does not run here"
    notes_console().print(
        f"broker at {', '.join(opened.record.hosts)}, port {opened.record.port}: {state}", soft_wrap=True
    )


def _add(
    fleet: Path, name: str, role: Role, streams: tuple[str, ...], site: str | None, out: Path | None, qr: bool
) -> None:
    check_file("--out", out)

    def change() -> tuple[Enrolment, bool]:
        with FleetFolder.changing(fleet) as opened:
            enrolment = opened.add(name, role, streams, site)
        return enrolment, opened.reload_broker()

    enrolment, is_running = _written(change)
    deliver(enrolment, out, qr)
    _note_reload(fleet, is_running)


def _written(change: Callable[[], _T]) -> _T:
    try:
        return change()
    except OSError as error:
        raise InputError(f"{error.filename or 'the fleet'}: {error.strerror or error}") from None


def _note_reload(fleet: Path, is_running: bool) -> None:
    sites = [each.name for each in FleetFolder.open(fleet).record.sites]
    if sites:
        text = f"for the brokers of other sites: segue fleet bridge NAME --out DIR, for {', '.join(sites)}"
        notes_console().print(text, soft_wrap=True, markup=False)
    text = (
        "the running broker has read it"
        if is_running
        else f"no broker of this fleet runs here: segue broker --fleet {fleet}"
    )
    notes_console().print(text, soft_wrap=True, markup=False)


def _own_hosts() -> list[str]:
    """Return the names and addresses of this machine: first the address towards other networks, last localhost."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        address.address
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if name in up and address.family in (socket.AF_INET, socket.AF_INET6)
    ]
    # An address with a zone, such as fe80::1%eth0, means something on this machine only.
    reachable = [address for address in found if "%" not in address and not is_loopback(address)]
    # False sorts before True: IPv4 addresses come first.
    reachable.sort(key=lambda address: ":" in address)
    return list(dict.fromkeys([*_route_address(), *reachable, socket.gethostname(), "localhost", "127.0.0.1"]))


def _route_address() -> list[str]:
    """Return the address of the interface that leads to other networks. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # An address for documentation (RFC 5737): the route to it is the usual one.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        address: str = probe.getsockname()[0]
        return [] if is_loopback(address) else [address]
