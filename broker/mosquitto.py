"""Mosquitto in a child process, for tests and for one machine."""

import getpass
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from broker.access_files import hashed_password
from broker.process import BrokerFailed, BrokerProcess, free_port
from shared.bus.settings import BusSettings
from shared.secret_files import write_secret

# Debian installs it in a folder that is not on the PATH of ordinary users.
_SYSTEM_DIRECTORIES: Final = ("/usr/sbin", "/usr/local/sbin")
# The largest that MQTT allows (MQTT 5.0, 1.5.5).
_MAX_PACKET_BYTES: Final = 268435455
NOT_INSTALLED = "mosquitto is not installed: apt-get install mosquitto"


def find_mosquitto() -> str | None:
    """Return the path of the mosquitto server; None if it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(_SYSTEM_DIRECTORIES))


class MosquittoBroker(BrokerProcess):
    """Mosquitto with settings like those of a fleet, on the loopback interface.

    Retained messages and persistent sessions survive `kill` and `start`, but not the end of the block.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        trusted_ca: str | None = None,
        other_accounts: Mapping[str, str] | None = None,
        acl_file: Path | None = None,
        max_packet_bytes: int = _MAX_PACKET_BYTES,
        start_timeout_s: float = 15.0,
    ) -> None:
        """Describe a broker. Entering it starts it.

        Args:
            port: TCP port; None for a free one.
            username: the account in `settings`; None for a broker without accounts.
            password: its password.
            tls_cert: file with the server's certificate; None for no TLS.
            tls_key: file with its private key.
            trusted_ca: file with the authority with which clients verify it.
            other_accounts: further user names and their passwords.
            acl_file: access rules, as `broker.access_files` writes them.
            max_packet_bytes: largest packet that it accepts; it states this to its clients.
            start_timeout_s: bound on its start.

        Raises:
            ValueError: half of an account, or half of a TLS identity.
        """
        if (username is None) != (password is None) or (tls_cert is None) != (tls_key is None):
            raise ValueError("user name and password, certificate and key come in pairs")
        self._tls = (tls_cert, tls_key)
        self._accounts = {**({username: password} if username and password else {}), **(other_accounts or {})}
        self._acl_file = acl_file
        self._max_packet_bytes = max_packet_bytes
        settings = BusSettings(
            host="127.0.0.1",
            port=port or free_port(),
            username=username,
            password=password,
            tls=tls_cert is not None,
            tls_ca=trusted_ca,
        )
        super().__init__(settings, start_timeout_s)

    def prepare(self, directory: Path) -> Sequence[str]:
        """Write configuration and password file, and return the command."""
        server = find_mosquitto()
        if server is None:
            raise BrokerFailed(NOT_INSTALLED)
        lines = [
            f"listener {self.settings.port} {self.settings.host}",
            f"allow_anonymous {'false' if self._accounts else 'true'}",
            # Started by root, mosquitto changes to another user, who cannot read this directory.
            f"user {getpass.getuser()}",
            "set_tcp_nodelay true",
            f"max_packet_size {self._max_packet_bytes}",
            "max_queued_messages 1000",
            "max_queued_bytes 268435456",
            "max_inflight_messages 20",
            "persistence true",
            f"persistence_location {directory}/",
            "autosave_interval 1",
        ]
        if self._accounts:
            passwords = directory / "passwords"
            write_passwords(passwords, self._accounts)
            lines.append(f"password_file {passwords}")
        if self._acl_file is not None:
            lines.append(f"acl_file {self._acl_file}")
        certificate, key = self._tls
        if certificate is not None:
            lines += [f"certfile {certificate}", f"keyfile {key}"]
        configuration = directory / "mosquitto.conf"
        configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return (server, "-c", str(configuration))

    def environment(self) -> dict[str, str]:
        """Return the environment with the malloc tuning for large messages (`shared.bus.malloc_tuning`)."""
        return tuned_environment()


def write_passwords(path: Path, accounts: Mapping[str, str]) -> None:
    """Write a password file in mosquitto's format, readable by this user only."""
    write_secret(path, "".join(f"{name}:{hashed_password(password)}\n" for name, password in accounts.items()))


def tuned_environment() -> dict[str, str]:
    """Return this process' environment with a malloc that keeps the memory of large messages.

    `shared.bus.malloc_tuning` has the reason.
    """
    tuning = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
    return {**os.environ, **tuning, "MALLOC_TOP_PAD_": str(16 << 20)}
