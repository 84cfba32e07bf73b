"""`segue broker`: the embedded broker, or the Mosquitto of a fleet, in the foreground."""

import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

import typer

from broker.embedded import EmbeddedBrokerConfig, serve
from broker.fleet_folder import FleetFolder
from broker.mosquitto import NOT_INSTALLED, find_mosquitto, tuned_environment
from shared.bus.errors import SettingsError
from shared.bus.exposure import exposures
from shared.bus.settings import BusSettings, read_password
from shared.exit_status import ExitStatus

_LIMITS: Final = (
    "the embedded broker has one account for everyone and no access rules: each client may act as every device and "
    "read every photograph. It verifies no client certificates"
)


def broker_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface. Others need TLS and an account.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port of the MQTT 5 listener.")] = 1883,
    username: Annotated[str | None, typer.Option(help="The account clients must use.")] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(envvar="SEGUE_BROKER_PASSWORD_FILE", metavar="FILE", help="File with its password, on one line."),
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate chain file: serve TLS.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Private key file of the certificate.")] = None,
    fleet: Annotated[
        Path | None,
        typer.Option("--fleet", metavar="DIR", help="Run Mosquitto for the fleet in this folder (`segue fleet init`)."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", envvar="SEGUE_INSECURE", help="Serve other machines without TLS or an account."),
    ] = False,
) -> None:
    """Run an MQTT broker until SIGTERM or Ctrl-C: the embedded one, or with --fleet Mosquitto.

    The embedded broker needs no installation and serves trials and demonstrations on one machine. It stores nothing
    across restarts and has no access rules. For several machines, run Mosquitto with --fleet.
    """
    if fleet is not None:
        _run_mosquitto(fleet)
    try:
        password = None if password_file is None else read_password(password_file)
        number = _numeric_address(host)
        config = EmbeddedBrokerConfig(
            host=number,
            port=port,
            username=username,
            password=password,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
    except (ValueError, SettingsError) as exc:
        raise _refusal(str(exc)) from None
    if not ip_address(number).is_loopback:
        _check_open(BusSettings(host, port, username, password, tls=bool(tls_cert)), insecure)
    address = BusSettings(host, port, tls=bool(tls_cert)).address
    try:
        serve(config, lambda: typer.echo(f"MQTT 5 broker on {address} (Ctrl-C ends it)", err=True))
    except (OSError, RuntimeError, ValueError) as exc:
        raise _refusal(f"cannot start: {exc}") from None


def _check_open(settings: BusSettings, insecure: bool) -> None:
    """Refuse to serve others without TLS and an account, and say what this broker cannot do."""
    lacking = "; ".join(exposures(settings))
    if lacking and not insecure:
        installed = find_mosquitto()
        have = f"Mosquitto is installed ({installed})" if installed else NOT_INSTALLED
        raise _refusal(
            f"other machines would reach it with {lacking}. For several machines, run Mosquitto with accounts and "
            f"rights: `segue fleet init`, then `segue broker --fleet fleet`. {have}. To serve them with this broker "
            "all the same, give --tls-cert, --tls-key and --username, or accept it with --insecure"
        )
    if lacking:
        typer.echo(f"insecure: {settings.address}: {lacking}", err=True)
    typer.echo(f"note: {_LIMITS}: `segue fleet init` sets Mosquitto up", err=True)


def _run_mosquitto(folder: Path) -> None:
    """Become the Mosquitto of a fleet. Returns never."""
    server = find_mosquitto()
    if server is None:
        raise _refusal(NOT_INSTALLED)
    try:
        with FleetFolder.changing(folder) as fleet:
            pass
    except OSError as error:
        raise _refusal(f"{error.filename or folder}: {error.strerror or error}") from None
    running = fleet.broker_process()
    if running is not None:
        raise _refusal(f"the broker of this fleet runs already, as process {running.pid}")
    hosts = ", ".join(fleet.record.hosts)
    typer.echo(
        f"Mosquitto with TLS, accounts and rights on {hosts}, port {fleet.record.port} (Ctrl-C ends it)", err=True
    )
    os.execve(server, [server, "-c", str(fleet.configuration)], tuned_environment())


def _refusal(reason: str) -> typer.Exit:
    typer.echo(f"segue broker: {reason}", err=True)
    return typer.Exit(ExitStatus.INPUT_WRONG)


def _numeric_address(host: str) -> str:
    """Return the address of a host name, IPv4 if it has one: the broker accepts numeric addresses only.

    Raises:
        ValueError: the name cannot be resolved.
    """
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"--host {host}: {getattr(error, 'strerror', None) or error}") from None
    # False sorts before True: IPv4 addresses come first.
    return str(min(addresses, key=lambda info: info[0] is not socket.AF_INET)[4][0])
