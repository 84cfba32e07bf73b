"""What a connection to a broker on another machine lacks to be closed to others."""

import ipaddress
import socket

from shared.bus.settings import BusSettings


def exposures(settings: BusSettings) -> tuple[str, ...]:
    """Return what others could do to a connection with these settings; empty if it has TLS and an account."""
    found = []
    if not settings.tls:
        found.append("no TLS: others on the network read and change everything")
    elif settings.tls_insecure:
        found.append("any certificate is accepted: others can pose as the broker")
    if settings.username is None and settings.tls_cert is None:
        found.append("no account: everybody who reaches the broker has every right")
    return tuple(found)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its spelling: `localhost`, or an address of the loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_this_machine(host: str) -> bool:
    """Return whether every address of a host is one of this machine. It blocks: names are looked up."""
    if is_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_own(family, address) for family, _, _, _, address in found)


def _is_own(family: int, address: tuple[object, ...]) -> bool:
    # The unspecified address can be bound, and a connection to it reaches this machine on Linux.
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
        return True
