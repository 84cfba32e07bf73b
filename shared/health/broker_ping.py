"""Question whether an MQTT 5 broker on this machine serves.

It connects without an account. A broker that refuses this has answered. Only light modules, as in `health_query`.
"""

import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.health.service_health import HealthReport

# MQTT 5.0, 3.1: CONNECT with a clean start, a keep-alive of 10 s, no properties and an empty client identifier.
_CONNECT: Final = bytes.fromhex("10 0d 0004 4d515454 05 02 000a 00 0000")
# MQTT 5.0, 3.14: DISCONNECT, normal.
_DISCONNECT: Final = bytes.fromhex("e0 00")
_CONNACK: Final = 0x20


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where a broker listens on this machine.

    Attributes:
        port: its TCP port.
        host: a name in its certificate; None for a broker without TLS.
        authority: file with the certificate of the authority; None for a broker without TLS.
    """

    port: int
    host: str | None = None
    authority: Path | None = None

    @classmethod
    def of_fleet(cls, folder: Path) -> "BrokerPlace":
        """Return where the broker of the fleet in a folder listens.

        Raises:
            ValueError, OSError: there is no fleet.
        """
        try:
            record = json.loads((folder / "fleet.json").read_text(encoding="utf-8"))
            return cls(int(record["port"]), str(record["hosts"][0]), folder / "authority" / "ca.pem")
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"the fleet in {folder} is damaged: no {error}") from None


def ping_broker(place: BrokerPlace, timeout_s: float = 2.0) -> HealthReport:
    """Return whether the broker answers a connection; over TLS, whether its certificate is in order as well."""
    name = f"port {place.port}"
    try:
        with socket.create_connection(("127.0.0.1", place.port), timeout_s) as plain:
            if place.authority is None:
                answer = _handshake(plain)
            else:
                context = ssl.create_default_context(cafile=str(place.authority))
                with context.wrap_socket(plain, server_hostname=place.host) as encrypted:
                    answer = _handshake(encrypted)
    except OSError as error:
        # Errors of TLS are OSErrors.
        reason = getattr(error, "verify_message", "") or error.strerror or str(error) or type(error).__name__
        return HealthReport("broker", name, False, f"it does not serve: {reason}", is_alive=False)
    if answer != _CONNACK:
        return HealthReport("broker", name, False, "what listens there is no MQTT broker", is_alive=False)
    return HealthReport("broker", name, True)


def _handshake(connected: socket.socket) -> int:
    """Return the first byte of the answer to CONNECT; -1 if there is none."""
    connected.sendall(_CONNECT)
    answer = connected.recv(1)
    if not answer:
        return -1
    connected.sendall(_DISCONNECT)
    return answer[0]
