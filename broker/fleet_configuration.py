"""Mosquitto's configuration for a fleet."""

from pathlib import Path
from typing import Final

from broker.fleet_record import FleetRecord
from shared.bus.exposure import is_loopback
from shared.bus.settings import BusSettings

# With room for topic and properties.
_MAX_PACKET_BYTES: Final = BusSettings().max_payload_bytes + 2**16


def mosquitto_configuration(folder: Path, record: FleetRecord, user: str | None) -> str:
    """Return the configuration: TLS only, an account for everyone, rights from the rules, bounds on what waits.

    Args:
        folder: of rules, passwords, certificate and data.
        record: the fleet.
        user: to whom it changes, if root starts it; None to stay who it is.
    """
    lines = [
        "# Written by `segue fleet` and `segue broker --fleet`. Changes are lost with their next start.",
        f"listener {record.port}{_address(record.hosts)}",
        f"certfile {folder}/server.pem",
        f"keyfile {folder}/server.key",
        "tls_version tlsv1.2",
        "allow_anonymous false",
        f"password_file {folder}/passwords",
        f"acl_file {folder}/rules",
        *([] if user is None else [f"user {user}"]),
        f"pid_file {folder}/mosquitto.pid",
        # Without it, small messages wait up to 40 ms for a delayed acknowledgement.
        "set_tcp_nodelay true",
        f"max_packet_size {_MAX_PACKET_BYTES}",
        # A client that subscribes gets at most so many retained messages at once.
        "max_queued_messages 1000",
        "max_queued_bytes 268435456",
        "max_inflight_messages 20",
        "max_keepalive 3600",
        "persistence true",
        f"persistence_location {folder}/data/",
        "autosave_interval 1",
        "persistent_client_expiration 7d",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
    ]
    return "\n".join(lines) + "\n"


def _address(hosts: tuple[str, ...]) -> str:
    """Return the address to listen on with a blank before it: a loopback one, or nothing for every interface."""
    if all(is_loopback(host) for host in hosts):
        numeric = [host for host in hosts if host != "localhost"]
        return f" {numeric[0] if numeric else '127.0.0.1'}"
    return ""
