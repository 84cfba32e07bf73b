"""Settings of a connection to the broker, as one frozen value that can be read from an address."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from shared.bus.errors import SettingsError

DEFAULT_ROOT = "segue/v1"
_PLAIN_PORT = 1883
DEFAULT_TLS_PORT = 8883
_QUERY_FIELDS: Mapping[str, str] = {
    "ca": "tls_ca",
    "cert": "tls_cert",
    "key": "tls_key",
    "insecure": "tls_insecure",
    "root": "root",
    "keepalive": "keepalive_s",
    "password_file": "password",
}
# Longest password of MQTT 5.0 (3.1.3.6), in bytes.
_MAX_PASSWORD: Final = 65535


@dataclass(frozen=True, slots=True)
class BusSettings:
    """Address of the broker, account, TLS, and bounds of a connection.

    Attributes:
        host: name or address of the broker.
        port: TCP port of its MQTT 5 listener.
        username: account; None for a broker without accounts.
        password: excluded from `repr`, `address` and log lines.
        tls: use TLS.
        tls_ca: file with the certificate authority; None for the system's.
        tls_cert: file with the client's certificate, for brokers that require one.
        tls_key: file with the client's private key.
        tls_insecure: accept any certificate of the broker. For experiments only.
        root: prefix of every topic.
        keepalive_s: the broker closes a silent connection after 1.5 times this (MQTT 5.0, 3.1.2.10).
        receive_maximum: bound on unacknowledged messages of QoS 1 that the broker may send.
        queue_limit: bound on messages of QoS 0 that wait for the application; beyond it the oldest is dropped.
        max_payload_bytes: largest payload that may be published.
        max_outstanding: bound on publications that wait for PUBACK at the same time.
        session_expiry_s: how long the broker stores a persistent session without a connection. Requests for a source
            that is off wait that long.
        attempt_timeout_s: bound on one attempt to connect.
        reconnect_min_s: shortest pause between attempts to connect.
        reconnect_max_s: longest pause between attempts to connect.
        client_secret: added to every client id, so that others cannot guess it; empty for none.
    """

    host: str = "localhost"
    port: int = _PLAIN_PORT
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_insecure: bool = False
    root: str = DEFAULT_ROOT
    keepalive_s: int = 30
    receive_maximum: int = 64
    queue_limit: int = 1024
    max_payload_bytes: int = 64 * 1024 * 1024
    max_outstanding: int = 64
    session_expiry_s: int = 7 * 86_400
    attempt_timeout_s: float = 5.0
    reconnect_min_s: float = 0.1
    reconnect_max_s: float = 5.0
    client_secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.host:
            raise SettingsError("the broker's host is empty")
        if not 1 <= self.port <= 65535:
            raise SettingsError(f"port {self.port} is not within 1..65535")
        if not 1 <= self.keepalive_s <= 65535:
            # MQTT allows 0 for "no keep-alive", but a dead peer would then go unnoticed.
            raise SettingsError(f"keepalive_s {self.keepalive_s} is not within 1..65535 (0 would hide dead peers)")
        if not 1 <= self.receive_maximum <= 65535:
            raise SettingsError(f"receive_maximum {self.receive_maximum} is not within 1..65535")
        if self.queue_limit < 1 or self.max_outstanding < 1:
            raise SettingsError("queue_limit and max_outstanding must be at least 1")
        if not 0 < self.reconnect_min_s <= self.reconnect_max_s:
            raise SettingsError("reconnect_min_s must be positive and at most reconnect_max_s")
        if not self.root or self.root.strip("/") != self.root or any(c in self.root for c in "+#\0"):
            raise SettingsError(f"root topic {self.root!r} must be plain levels without wildcards or outer slashes")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("a client certificate needs both tls_cert and tls_key")

    @classmethod
    def from_address(cls, address: str, **overrides: Any) -> "BusSettings":
        """Read `mqtt://user:password@host:1883` or `mqtts://host:8883?ca=FILE&cert=FILE&key=FILE`.

        `host` and `host:port` alone mean `mqtt://`. Further query parameters: `insecure`, `root`, `keepalive`, and
        `password_file`, so that the password is in no command line and no environment.

        Args:
            address: the address.
            **overrides: fields that take precedence over the address.

        Raises:
            SettingsError: the address is malformed, or the password's file cannot be read. The text does not contain
                the password.
        """
        # Without a scheme `urlsplit` takes "host:1883" for the scheme "host".
        parts = urlsplit(address if "://" in address else f"mqtt://{address}")
        if parts.scheme not in ("mqtt", "mqtts"):
            raise SettingsError(f"unknown scheme {parts.scheme!r}: use mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
        if parts.path.strip("/"):
            raise SettingsError(f"unexpected path {parts.path!r} in the address: the root topic is given as ?root=NAME")
        tls = parts.scheme == "mqtts"
        fields: dict[str, Any] = {
            "host": parts.hostname or "localhost",
            "port": _port(parts) or (DEFAULT_TLS_PORT if tls else _PLAIN_PORT),
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password is not None else None,
            "tls": tls,
            **_query(parts),
        }
        try:
            return cls(**{**fields, **overrides})
        except TypeError as exc:
            raise SettingsError(str(exc)) from None

    @property
    def address(self) -> str:
        """The address without the password, for messages and logs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.username}@" if self.username else ""
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}"


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise SettingsError("the port of the broker's address is not a number within 1..65535") from None


def _query(parts: SplitResult) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _QUERY_FIELDS:
            raise SettingsError(f"unknown parameter {name!r} in the address; known: {', '.join(_QUERY_FIELDS)}")
        fields[_QUERY_FIELDS[name]] = value
    if "password" in fields:
        fields["password"] = read_password(Path(fields["password"]))
    if "tls_insecure" in fields:
        fields["tls_insecure"] = fields["tls_insecure"].lower() in ("", "1", "true", "yes")
    if "keepalive_s" in fields:
        if not fields["keepalive_s"].isdigit():
            raise SettingsError("keepalive in the address is not a whole number of seconds")
        fields["keepalive_s"] = int(fields["keepalive_s"])
    return fields


def read_password(path: Path) -> str:
    """Return the password in a file, without the line break at its end.

    Raises:
        SettingsError: it cannot be read, or holds no password. The text has nothing of its content.
    """
    try:
        with path.open("rb") as file:
            password = file.read(_MAX_PASSWORD + 2).decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise SettingsError(f"the password cannot be read from {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the password in {path} is no text in UTF-8") from None
    if not password or "\n" in password:
        raise SettingsError(f"{path} must hold a password, on one line")
    if len(password.encode()) > _MAX_PASSWORD:
        raise SettingsError(f"the password in {path} is longer than {_MAX_PASSWORD} bytes")
    return password
