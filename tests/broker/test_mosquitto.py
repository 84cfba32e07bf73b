"""Mosquitto as a child process."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.mosquitto import MosquittoBroker, find_mosquitto, write_passwords
from broker.process import BrokerFailed, free_port
from shared.bus.connection import Connection

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto"),
]
WAIT_S = 20.0


async def test_a_subscription_that_the_rules_forbid_hears_nothing(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("user pi\ntopic readwrite segue/v1/devices/pi/#\ntopic write segue/v1/events\n", encoding="utf-8")
    async with (
        MosquittoBroker(username="pi", password="x", acl_file=acl) as broker,
        Connection.open(broker.settings) as connection,
        asyncio.timeout(WAIT_S),
    ):
        await connection.subscribe("#")
        await connection.publish("events", b"not to be read")
        await connection.publish("devices/pi/telemetry", b"heard")
        assert (await anext(connection)).payload == b"heard"


async def test_retained_messages_survive_a_polite_end() -> None:
    async with MosquittoBroker() as broker:
        async with Connection.open(broker.settings) as connection:
            await connection.publish("streams/a", b"kept", retain=True)
        await broker.stop()
        await broker.start()
        async with Connection.open(broker.settings) as connection, asyncio.timeout(WAIT_S):
            await connection.subscribe("streams/a")
            assert (await anext(connection)).payload == b"kept"


async def test_a_configuration_that_cannot_be_is_reported() -> None:
    broker = MosquittoBroker(tls_cert="/no/such.pem", tls_key="/no/such.key", port=free_port())
    with pytest.raises(BrokerFailed, match=r"/no/such\.pem"):
        async with broker:
            pass


def test_passwords_are_hashed_and_private(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    write_passwords(path, {"pi": "hunter2", "jetson": "hunter3"})
    text = path.read_text(encoding="utf-8")
    assert [line.split(":")[0] for line in text.splitlines()] == ["pi", "jetson"]
    assert "hunter" not in text
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("half", [{"username": "a"}, {"password": "b"}, {"tls_cert": "c"}, {"tls_key": "d"}])
def test_half_an_account_or_half_of_tls_is_refused(half: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="in pairs"):
        MosquittoBroker(**half)
