"""The embedded broker: its configuration, its switches, and the limits that broker/README.md tells of."""

import asyncio
import json
import signal
import socket
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker, EmbeddedBrokerConfig, client_settings, main
from broker.process import BrokerFailed, free_port
from shared.bus.connection import Connection
from shared.bus.errors import PublishFailed

WAIT_S = 20.0


def test_the_configuration_bounds_the_log_per_filter() -> None:
    config = tomllib.loads(EmbeddedBrokerConfig().to_toml(4321))
    router = config["router"]
    assert router["max_segment_size"] * router["max_segment_count"] == 32 * 1024 * 1024
    assert config["v5"]["1"]["listen"] == "127.0.0.1:4321"
    assert "auth" not in config["v5"]["1"]["connections"]


def test_awkward_passwords_survive_the_configuration() -> None:
    config = EmbeddedBrokerConfig(username='a"b.c', password="\\\n='ü")
    server = tomllib.loads(config.to_toml(4321))["v5"]["1"]
    assert server["connections"]["auth"] == {'a"b.c': "\\\n='ü"}


@pytest.mark.parametrize("changes", [{"username": "a"}, {"password": "b"}, {"tls_cert": "c"}, {"tls_key": "d"}])
def test_half_an_account_or_half_of_tls_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs both"):
        EmbeddedBrokerConfig(**changes)


def test_the_password_is_not_shown() -> None:
    assert "hunter2" not in repr(EmbeddedBrokerConfig(username="a", password="hunter2"))


@pytest.mark.parametrize(("bound", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1")])
def test_clients_reach_a_broker_on_every_interface_over_loopback(bound: str, reached: str) -> None:
    assert client_settings(EmbeddedBrokerConfig(host=bound)).host == reached


async def test_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BrokerFailed, match=r"(?i)in use"):
        async with EmbeddedBroker(EmbeddedBrokerConfig(port=taken.getsockname()[1])):
            pass


async def test_a_packet_beyond_the_bound_is_not_confirmed() -> None:
    config = EmbeddedBrokerConfig(port=free_port(), max_payload_bytes=100_000)
    async with EmbeddedBroker(config) as broker, Connection.open(broker.settings) as connection:
        await connection.publish("events", bytes(90_000))
        with pytest.raises(PublishFailed):
            await connection.publish("events", bytes(110_000), timeout_s=0.5)


@pytest.mark.parametrize("with_file", [True, False], ids=["file", "options"])
async def test_sigterm_ends_it_with_status_0(tmp_path: Path, with_file: bool) -> None:
    path = tmp_path / "broker.json"
    config = EmbeddedBrokerConfig(port=free_port())
    path.write_text(json.dumps(asdict(config)), encoding="utf-8")
    options = ("--config", str(path)) if with_file else ("--port", str(config.port))
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "broker.embedded", *options)
    try:
        async with Connection.open(client_settings(config), connect_timeout_s=WAIT_S):
            child.send_signal(signal.SIGTERM)
            async with asyncio.timeout(WAIT_S):
                assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@pytest.mark.parametrize(
    "text", ["not = 'a broker'", '{"not": "a broker"}', '{"tls_cert": "/nowhere", "tls_key": "k"}']
)
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broker.json"
    path.write_text(text, encoding="utf-8")
    assert main(["--config", str(path)]) == 2
