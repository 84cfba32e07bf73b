"""The embedded broker: rumqttd from the iotcore wheel, with a bounded log, in a process of its own.

For one machine, tests and demonstrations. What it does not do is in broker/README.md.
"""

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from broker.process import BrokerProcess, free_port
from shared.bus.malloc_tuning import keep_large_buffers
from shared.bus.settings import BusSettings

logger = logging.getLogger(__name__)

_MIB = 1024 * 1024
_LISTENER_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class EmbeddedBrokerConfig:
    """What the embedded broker listens on, and how much it may hold.

    Attributes:
        host: address to bind.
        port: TCP port of the MQTT 5 listener.
        username: the only account; None leaves the broker open.
        password: its password.
        tls_cert: file with the server's certificate chain; None for no TLS.
        tls_key: file with its private key.
        segment_bytes: rumqttd keeps a log per topic filter; size of one of its segments.
        segment_count: segments per filter, so a filter holds at most `segment_bytes * segment_count`. Subscribers
            that fall further behind lose the oldest messages.
        max_payload_bytes: largest packet that is accepted.
        max_connections: clients at the same time.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_cert: str | None = None
    tls_key: str | None = None
    segment_bytes: int = 8 * _MIB
    segment_count: int = 8
    max_payload_bytes: int = 128 * _MIB
    max_connections: int = 1000

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("an account needs both a user name and a password")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both a certificate and its key")

    def to_toml(self) -> str:
        """The configuration as rumqttd reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            "id = 0",
            "[router]",
            "id = 0",
            f"max_connections = {self.max_connections}",
            "max_outgoing_packet_count = 200",
            f"max_segment_size = {self.segment_bytes}",
            f"max_segment_count = {self.segment_count}",
            "[v5.1]",
            'name = "segue"',
            f"listen = {_quoted(f'{host}:{self.port}')}",
            "next_connection_delay_ms = 0",
            "[v5.1.connections]",
            "connection_timeout_ms = 10000",
            f"max_payload_size = {self.max_payload_bytes}",
            "max_inflight_count = 100",
            "dynamic_filters = true",
        ]
        if self.username is not None and self.password is not None:
            lines += ["[v5.1.connections.auth]", f"{_quoted(self.username)} = {_quoted(self.password)}"]
        if self.tls_cert is not None and self.tls_key is not None:
            lines += [
                "[v5.1.tls]",
                f"certpath = {_quoted(self.tls_cert)}",
                f"keypath = {_quoted(self.tls_key)}",
            ]
        return "\n".join(lines) + "\n"


class EmbeddedBroker(BrokerProcess):
    """The embedded broker in a child process, which ends when this process does.

    Example:
        async with EmbeddedBroker() as broker, Connection.open(broker.settings) as connection: ...
    """

    def __init__(
        self,
        config: EmbeddedBrokerConfig | None = None,
        *,
        trusted_ca: str | None = None,
        start_timeout_s: float = 15.0,
    ) -> None:
        """Describe a broker; entering it starts it.

        Args:
            config: what to listen on; None for any free port of the loopback interface.
            trusted_ca: for TLS, the authority with which clients (also the one that waits for the start) verify it.
            start_timeout_s: bound on starting.
        """
        self.config = config or EmbeddedBrokerConfig(port=free_port())
        super().__init__(client_settings(self.config, trusted_ca), start_timeout_s)

    def prepare(self, directory: Path) -> Sequence[str]:
        """Write the configuration, readable for this user only, and return the command."""
        path = directory / "rumqttd.toml"
        _write_private(path, self.config.to_toml())
        return (sys.executable, "-m", "broker.embedded", "--config", str(path), "--stop-with-stdin")


def client_settings(config: EmbeddedBrokerConfig, trusted_ca: str | None = None) -> BusSettings:
    """How a client on the same machine reaches a broker with this configuration."""
    any_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return BusSettings(
        host=any_address.get(config.host, config.host),
        port=config.port,
        username=config.username,
        password=config.password,
        tls=config.tls_cert is not None,
        tls_ca=trusted_ca,
    )


def serve(config: EmbeddedBrokerConfig, on_listening: Callable[[], None]) -> NoReturn:
    """Run the broker in this process until SIGTERM or SIGINT, and then end the process with status 0.

    It does not return, because rumqttd's threads cannot be stopped in any other way.

    Args:
        config: what to listen on.
        on_listening: called once clients can connect.

    Raises:
        OSError: the port is taken, or the configuration was not accepted.
    """
    with tempfile.TemporaryDirectory(prefix="segue-broker-") as directory:
        path = Path(directory) / "rumqttd.toml"
        _write_private(path, config.to_toml())
        _serve_file(path, _stop_on_signals(), on_listening)
    _leave()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m broker.embedded`: run the broker in this process.

    Returns:
        The exit status 2, if it cannot start. Otherwise it ends the process itself, with status 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m broker.embedded", description="Run Segue's embedded MQTT 5 broker."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1883, help="TCP port (default: %(default)s)")
    parser.add_argument("--config", type=Path, help="a complete rumqttd TOML file instead")
    parser.add_argument("--stop-with-stdin", action="store_true", help="also stop when standard input closes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = _stop_on_signals()
    if options.stop_with_stdin:
        threading.Thread(target=_set_at_end_of_input, args=(stop,), name="parent watch", daemon=True).start()
    try:
        _serve_file(options.config, stop)
    except (OSError, RuntimeError, ValueError) as exc:
        logger.error("the broker cannot start: %s", exc)
        return 2
    _leave()


def _serve_file(path: Path, stop: threading.Event, on_listening: Callable[[], None] = lambda: None) -> None:
    from iotcore import IotCoreBroker

    # rumqttd logs every packet as an error-level span.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    keep_large_buffers()
    native = IotCoreBroker(config_path=str(path))
    native.check_ports()
    native.start()
    wanted = len(native.listeners())
    while switch_off_nagle() < wanted and not stop.wait(_LISTENER_POLL_S):
        pass
    on_listening()
    stop.wait()


def switch_off_nagle() -> int:
    """Set TCP_NODELAY on every listening socket of this process: connections accepted from them inherit it.

    rumqttd does not set it, and small messages then wait up to 40 ms for a delayed acknowledgement. Linux only,
    elsewhere nothing happens.

    Returns:
        Number of listening sockets found.
    """
    found = 0
    for listener in _listening_sockets():
        with listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found += 1
    return found


def _listening_sockets() -> Iterator[socket.socket]:
    directory = Path("/proc/self/fd")
    if not directory.is_dir():
        return
    for name in os.listdir(directory):
        with contextlib.suppress(OSError):
            if not os.readlink(directory / name).startswith("socket:"):
                continue
            candidate = socket.socket(fileno=os.dup(int(name)))
            is_tcp = candidate.family in (socket.AF_INET, socket.AF_INET6) and candidate.type == socket.SOCK_STREAM
            if is_tcp and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield candidate
            else:
                candidate.close()


def _leave() -> NoReturn:
    """End the process without finalising the interpreter: rumqttd's threads would abort it while they log."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _set_at_end_of_input(stop: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    stop.set()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=True)


if __name__ == "__main__":
    sys.exit(main())
