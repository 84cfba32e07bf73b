"""`segue broker`: the embedded broker in the foreground."""

import logging
import socket
from ipaddress import ip_address
from typing import Annotated

import typer

from broker.embedded import EmbeddedBrokerConfig, serve
from shared.bus.settings import BusSettings

logger = logging.getLogger(__name__)

_INPUT_IS_WRONG = 2


def broker(
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

    It needs no installation and is meant for one machine, trials and demonstrations. It keeps nothing across restarts
    and has no access rules: for a real fleet run mosquitto with broker/mosquitto.conf.
    """
    try:
        number = _number_of(host)
        config = EmbeddedBrokerConfig(
            host=number,
            port=port,
            username=username,
            password=password,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
    except ValueError as exc:
        typer.echo(f"segue broker: {exc}", err=True)
        raise typer.Exit(_INPUT_IS_WRONG) from None
    if username is None and not ip_address(number).is_loopback:
        logger.warning("anyone who reaches %s:%d may use this broker: give it --username and a password", host, port)
    address = BusSettings(host, port, tls=bool(tls_cert)).address
    try:
        serve(config, lambda: typer.echo(f"MQTT 5 broker on {address} (Ctrl-C ends it)", err=True))
    except (OSError, RuntimeError, ValueError) as exc:
        typer.echo(f"segue broker: cannot start: {exc}", err=True)
        raise typer.Exit(_INPUT_IS_WRONG) from None


def _number_of(host: str) -> str:
    """Return the address that a host name stands for: the broker listens on addresses only.

    Raises:
        ValueError: nobody knows the name.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"--host {host}: {getattr(error, 'strerror', None) or error}") from None
    return str(sorted(found, key=lambda each: each[0] is not socket.AF_INET)[0][4][0])
