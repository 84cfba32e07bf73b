"""The embedded broker: rumqttd from the iotcore wheel, with a bounded log, in a process of its own.

It is meant for one machine, tests and demonstrations. broker/README.md lists its limits.
"""

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from broker.process import BrokerProcess, free_port, write_private
from broker.tcp_nodelay import set_tcp_nodelay_on_listeners
from shared.bus.malloc_tuning import keep_large_buffers
from shared.bus.settings import BusSettings

_LOGGER = logging.getLogger(__name__)

_MIB: Final = 1024 * 1024
_LISTENER_POLL_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class EmbeddedBrokerConfig:
    """Listener, account, TLS and bounds of the embedded broker.

    Attributes:
        host: address to bind.
        port: TCP port of the MQTT 5 listener.
        username: the only account; None for a broker without accounts.
        password: its password.
        tls_cert: file with the server's certificate chain; None for no TLS.
        tls_key: file with its private key.
        segment_bytes: size of a segment of the log that rumqttd keeps per topic filter.
        segment_count: segments per topic filter. Subscribers that are more than `segment_bytes * segment_count`
            behind lose the oldest messages.
        max_payload_bytes: largest accepted packet.
        max_connections: largest number of clients.

    Raises:
        ValueError: half of an account, or half of a TLS identity.
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
        """Return the configuration in rumqttd's format."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            # The tables `v4` and `ws` are absent: only the MQTT 5 listener is started.
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
    """The embedded broker in a child process, which ends with this process.

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
        """Describe a broker. Entering it starts it.

        Args:
            config: its configuration; None for a free port of the loopback interface.
            trusted_ca: file with the authority with which clients verify it; one client waits for its start.
            start_timeout_s: bound on its start.
        """
        self.config = config or EmbeddedBrokerConfig(port=free_port())
        super().__init__(client_settings(self.config, trusted_ca), start_timeout_s)

    def prepare(self, directory: Path) -> Sequence[str]:
        """Write the configuration, readable by this user only, and return the command."""
        path = directory / "rumqttd.toml"
        write_private(path, self.config.to_toml())
        return (sys.executable, "-m", "broker.embedded", "--config", str(path), "--stop-with-stdin")


def client_settings(config: EmbeddedBrokerConfig, trusted_ca: str | None = None) -> BusSettings:
    """Return the settings with which a client on the same machine reaches a broker of this configuration."""
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
    """Run the broker in this process until SIGTERM or SIGINT, then end the process with status 0.

    It does not return: rumqttd's threads end with their process only.

    Args:
        config: its configuration.
        on_listening: called when clients can connect.

    Raises:
        OSError: the port is in use, or rumqttd rejects the configuration.
    """
    _serve_config(config, _stop_on_signals(), on_listening)
    _leave()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m broker.embedded`: the broker in this process.

    Returns:
        The exit status 2 if it cannot start. Otherwise it ends the process with status 0 and does not return.
    """
    parser = argparse.ArgumentParser(
        prog="python -m broker.embedded", description="Run Segue's embedded MQTT 5 broker."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1883, help="TCP port (default: %(default)s)")
    parser.add_argument("--config", type=Path, help="use this rumqttd TOML file instead")
    parser.add_argument("--stop-with-stdin", action="store_true", help="also stop when standard input closes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = _stop_on_signals()
    if options.stop_with_stdin:
        threading.Thread(target=_set_at_end_of_input, args=(stop,), name="parent watch", daemon=True).start()
    try:
        if options.config is None:
            _serve_config(EmbeddedBrokerConfig(host=options.host, port=options.port), stop)
        else:
            _serve_file(options.config, stop)
    except (OSError, RuntimeError, ValueError) as exc:
        _LOGGER.error("the broker cannot start: %s", exc)
    else:
        _leave()
    return 2


def _serve_config(
    config: EmbeddedBrokerConfig, stop: threading.Event, on_listening: Callable[[], None] = lambda: None
) -> None:
    with tempfile.TemporaryDirectory(prefix="segue-broker-") as directory:
        path = Path(directory) / "rumqttd.toml"
        write_private(path, config.to_toml())
        _serve_file(path, stop, on_listening)


def _serve_file(path: Path, stop: threading.Event, on_listening: Callable[[], None] = lambda: None) -> None:
    # Imported here: the wheel is an optional extra, and the parent process needs only the class above.
    from iotcore import IotCoreBroker

    # rumqttd logs every packet as an error-level span.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    keep_large_buffers()
    native = IotCoreBroker(config_path=str(path))
    native.check_ports()
    native.start()
    # rumqttd's threads open the listeners some time after `start` has returned.
    expected = len(native.listeners())
    while set_tcp_nodelay_on_listeners() < expected and not stop.wait(_LISTENER_POLL_S):
        pass
    on_listening()
    stop.wait()


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


def _quoted(text: str) -> str:
    """Return a TOML basic string. The escapes of JSON are a subset of those of TOML."""
    return json.dumps(text, ensure_ascii=True)


if __name__ == "__main__":
    sys.exit(main())
