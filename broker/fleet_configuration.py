"""Mosquitto's configuration for a fleet, and for a site that is bridged to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.bridge_topics import BridgeTopic
from shared.bus.exposure import is_loopback
from shared.bus.settings import BusSettings

# With room for topic and properties.
_MAX_PACKET_BYTES: Final = BusSettings().max_payload_bytes + 2**16


@dataclass(frozen=True, slots=True)
class BrokerBridge:
    """A bridge to the first broker of the fleet.

    Attributes:
        host: of the first broker.
        port: its TCP port.
        account: user name of the bridge there, and its client id.
        password: of the account.
        root: prefix of every topic.
        topics: what crosses.
    """

    host: str
    port: int
    account: str
    password: str
    root: str
    topics: Sequence[BridgeTopic]


def mosquitto_configuration(
    folder: Path, hosts: Sequence[str], port: int, user: str | None, bridge: BrokerBridge | None = None
) -> str:
    """Return the configuration: TLS only, an account for everyone, rights from the rules, bounds on what waits.

    Args:
        folder: of rules, passwords, certificate and data.
        hosts: names and addresses of the broker.
        port: its TCP port.
        user: to whom it changes, if root starts it; None to stay who it is.
        bridge: of a site.
    """
    lines = [
        "# Written by `segue fleet` and `segue broker --fleet`. Changes are lost with their next start.",
        f"listener {port}{_address(hosts)}",
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
        *([] if bridge is None else _bridge_lines(folder, bridge)),
    ]
    return "\n".join(lines) + "\n"


def _bridge_lines(folder: Path, bridge: BrokerBridge) -> list[str]:
    return [
        "",
        f"connection {bridge.account}",
        f"address {bridge.host}:{bridge.port}",
        f"bridge_cafile {folder}/ca.pem",
        # Earlier protocols have no user properties and no response topics.
        "bridge_protocol_version mqttv50",
        f"remote_clientid {bridge.account}",
        f"remote_username {bridge.account}",
        f"remote_password {bridge.password}",
        # The site keeps what it sends while the bridge is cut. The first broker keeps retained messages only:
        # Mosquitto 2.0 asks for a session without expiry time, which ends with the connection (MQTT 5.0, 3.1.2.11.2).
        "cleansession false",
        "notifications false",
        "keepalive_interval 10",
        "restart_timeout 1 10",
        *(f"topic {bridge.root}/{each.topic_filter} {each.direction} {each.qos}" for each in bridge.topics),
    ]


def _address(hosts: Sequence[str]) -> str:
    """Return the address to listen on with a blank before it: a loopback one, or nothing for every interface."""
    if all(is_loopback(host) for host in hosts):
        numeric = [host for host in hosts if host != "localhost"]
        return f" {numeric[0] if numeric else '127.0.0.1'}"
    return ""
