"""Settings of a device's direct transport, and which addresses may be used with which protection."""

import ipaddress
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from shared.bus.settings import BusSettings


@dataclass(frozen=True, slots=True)
class DirectSettings:
    """Where a device accepts direct connections.

    Attributes:
        broker: the broker's address. Where the bus is encrypted, so are direct connections over TCP.
        host: numeric address to listen on and to announce; None for the one from which the broker is reached. One that
            stands for all addresses is not announced: that from which the broker is reached is.
        port: TCP port; 0 for any free one.
        socket_folder: folder of the Unix sockets, shared by the executors of a machine; None for the user's.
    """

    broker: BusSettings
    host: str | None = None
    port: int = 0
    socket_folder: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder of the Unix sockets."""
        return self.socket_folder or usual_socket_folder()

    def needs_tls(self, host: str) -> bool:
        """Return whether a TCP connection with this address must be encrypted."""
        return self.broker.tls or not is_loopback(host)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A numeric TCP address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Parse `192.0.2.7:4000` or `[2001:db8::7]:4000`.

        Raises:
            ValueError: it is no numeric address with a port.
        """
        host, _, port = text.rpartition(":")
        number = int(port)
        if not 0 < number <= 65535:
            raise ValueError(f"{port} is no port")
        return cls(str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), number)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def is_address(text: str) -> bool:
    """Return whether a text is a numeric address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_unspecified(host: str) -> bool:
    """Return whether a numeric address stands for all addresses of this machine."""
    return ipaddress.ip_address(host).is_unspecified


def is_loopback(host: str) -> bool:
    """Return whether a numeric address is reached on this machine only."""
    return ipaddress.ip_address(host).is_loopback


def usual_socket_folder() -> Path:
    """Return the user's folder for sockets."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "segue" if runtime else Path(tempfile.gettempdir()) / f"segue-{os.getuid()}"


def own_address(broker: BusSettings) -> str:
    """Return the address of this machine from which a broker is reached. Resolves its name, so call it off the loop.

    Raises:
        OSError: the name does not resolve, or there is no route.
    """
    family, _, _, _, address = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_DGRAM)[0]
    # Connecting a datagram socket sends nothing: it only asks the kernel for the route.
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0]).partition("%")[0]
