"""The embedded broker: rumqttd from the iotcore wheel, with a bounded log, behind a gateway that checks packets.

It is meant for one machine, tests and demonstrations. broker/README.md lists its limits.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from broker.gateway import Gateway
from broker.heartbeat import until_silent
from broker.process import BrokerProcess, free_port
from broker.tcp_nodelay import set_tcp_nodelay_on_listeners
from shared.bus.malloc_tuning import keep_large_buffers
from shared.bus.settings import BusSettings
from shared.secret_files import write_secret

_LOGGER = logging.getLogger(__name__)

_MIB: Final = 1024 * 1024
_LISTENER_POLL_S: Final = 0.005
_START_TIMEOUT_S: Final = 15.0
# Connections of this process to rumqttd that are no clients.
_OWN_CONNECTIONS: Final = 8


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
    segment_bytes: int = 4 * _MIB
    segment_count: int = 8
    max_payload_bytes: int = 128 * _MIB
    max_connections: int = 1000

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("an account needs both a user name and a password")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both a certificate and its key")

    def to_toml(self, port: int) -> str:
        """Return the configuration of rumqttd behind the gateway, on a port of the loopback interface, without TLS."""
        lines = [
            # The tables `v4` and `ws` are absent: only the MQTT 5 listener is started.
            "id = 0",
            "[router]",
            "id = 0",
            f"max_connections = {self.max_connections + _OWN_CONNECTIONS}",
            "max_outgoing_packet_count = 200",
            f"max_segment_size = {self.segment_bytes}",
            f"max_segment_count = {self.segment_count}",
            "[v5.1]",
            'name = "segue"',
            f"listen = {_quoted(f'127.0.0.1:{port}')}",
            "next_connection_delay_ms = 0",
            "[v5.1.connections]",
            "connection_timeout_ms = 10000",
            f"max_payload_size = {self.max_payload_bytes}",
            "max_inflight_count = 100",
            "dynamic_filters = true",
        ]
        if self.username is not None and self.password is not None:
            lines += ["[v5.1.connections.auth]", f"{_quoted(self.username)} = {_quoted(self.password)}"]
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
        path = directory / "broker.json"
        write_secret(path, json.dumps(asdict(self.config)))
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
        OSError: the port is in use, the certificate cannot be read, or rumqttd rejects the configuration.
    """
    asyncio.run(_serve(config, on_listening, stop_with_stdin=False))
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
    parser.add_argument("--config", type=Path, help="read an `EmbeddedBrokerConfig` from this JSON file instead")
    parser.add_argument("--stop-with-stdin", action="store_true", help="also stop when standard input closes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if options.config is None:
            config = EmbeddedBrokerConfig(host=options.host, port=options.port)
        else:
            config = EmbeddedBrokerConfig(**json.loads(options.config.read_text(encoding="utf-8")))
        asyncio.run(_serve(config, lambda: None, stop_with_stdin=options.stop_with_stdin))
    except (OSError, RuntimeError, TypeError, ValueError) as exc:
        _LOGGER.error("the broker cannot start: %s", exc)
    else:
        _leave()
    return 2


async def _serve(config: EmbeddedBrokerConfig, on_listening: Callable[[], None], *, stop_with_stdin: bool) -> None:
    """Run rumqttd and the gateway in front of it until a signal comes; start rumqttd again if it stops serving."""
    stopped = _stop_on_signals(stop_with_stdin)
    # rumqttd logs every packet as an error-level span.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    keep_large_buffers()
    port = await asyncio.to_thread(_start_rumqttd, config)
    gateway = Gateway(port, config.max_payload_bytes, config.max_connections)
    tls = await asyncio.to_thread(_server_context, config)
    async with await gateway.listen(config.host, config.port, tls):
        on_listening()
        watch = asyncio.create_task(_restart_when_silent(config, gateway), name="watch rumqttd")
        await asyncio.wait({watch, asyncio.ensure_future(stopped.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if watch.done():
            # It never returns: it has failed to start rumqttd again.
            watch.result()


async def _restart_when_silent(config: EmbeddedBrokerConfig, gateway: Gateway) -> NoReturn:
    while True:
        reason = await until_silent(gateway.broker_port, config.username, config.password)
        _LOGGER.error("rumqttd has stopped serving (%s) and is started again; clients connect again", reason)
        gateway.broker_port = await asyncio.to_thread(_start_rumqttd, config)
        gateway.drop_clients()


def _start_rumqttd(config: EmbeddedBrokerConfig) -> int:
    """Start rumqttd on a free port of the loopback interface, wait until it listens, and return the port."""
    # Imported here: the wheel is an optional extra, and the parent process needs only the class above.
    from iotcore import IotCoreBroker

    port = free_port()
    with tempfile.TemporaryDirectory(prefix="segue-broker-") as directory:
        path = Path(directory) / "rumqttd.toml"
        write_secret(path, config.to_toml(port))
        native = IotCoreBroker(config_path=str(path))
        native.check_ports()
        native.start()
        # rumqttd's threads open the listener some time after `start` has returned.
        end_s = time.monotonic() + _START_TIMEOUT_S
        while not _accepts(port):
            if time.monotonic() > end_s:
                raise OSError(f"rumqttd did not listen within {_START_TIMEOUT_S:g} s")
            time.sleep(_LISTENER_POLL_S)
    set_tcp_nodelay_on_listeners()
    return port


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _server_context(config: EmbeddedBrokerConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls_cert, config.tls_key)
    return context


def _leave() -> NoReturn:
    """End the process without finalising the interpreter: rumqttd's threads would abort it while they log."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _stop_on_signals(stop_with_stdin: bool) -> asyncio.Event:
    """Return an event that SIGTERM, SIGINT, and if wanted the end of standard input, set."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if stop_with_stdin:
        arguments = (loop, stopped)
        threading.Thread(target=_set_at_end_of_input, args=arguments, name="parent watch", daemon=True).start()
    return stopped


def _set_at_end_of_input(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    # The loop is closed if the broker has not started.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stopped.set)


def _quoted(text: str) -> str:
    """Return a TOML basic string. The escapes of JSON are a subset of those of TOML."""
    return json.dumps(text, ensure_ascii=True)


if __name__ == "__main__":
    sys.exit(main())
