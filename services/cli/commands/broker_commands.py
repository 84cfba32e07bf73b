"""`segue broker`: the embedded broker in the foreground."""

import logging
import socket
from ipaddress import ip_address
from typing import Annotated

import typer

from broker.embedded import EmbeddedBrokerConfig, serve
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus

_LOGGER = logging.getLogger(__name__)


def broker_command(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port of the MQTT 5 listener.")] = 1883,
    username: Annotated[str | None, typer.Option(help="The account clients must use.")] = None,
    password: Annotated[
        str | None, typer.Option(envvar="SEGUE_BROKER_PASSWORD", help="Its password; better given in the environment.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate chain file: serve TLS.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Private key file of the certificate.")] = None,
) -> None:
    """Run the embedded MQTT broker until SIGTERM or Ctrl-C.

    It needs no installation and serves trials and demonstrations on one machine. It stores nothing across restarts
    and has no access rules. For a real fleet, run mosquitto with broker/mosquitto.conf.
    """
    try:
        number = _numeric_address(host)
        config = EmbeddedBrokerConfig(
            host=number,
            port=port,
            username=username,
            password=password,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
    except ValueError as exc:
        raise _refusal(str(exc)) from None
    if username is None and not ip_address(number).is_loopback:
        _LOGGER.warning("anyone who reaches %s:%d may use this broker: give it --username and a password", host, port)
    address = BusSettings(host, port, tls=bool(tls_cert)).address
    try:
        serve(config, lambda: typer.echo(f"MQTT 5 broker on {address} (Ctrl-C ends it)", err=True))
    except (OSError, RuntimeError, ValueError) as exc:
        raise _refusal(f"cannot start: {exc}") from None


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
