"""Mosquitto as a child process, the shipped configuration, and the shipped access rules."""

import asyncio
import getpass
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.mosquitto import MosquittoBroker, find_mosquitto, write_passwords
from broker.process import BrokerFailed, free_port
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import PublishFailed
from tests.support.shared_paths import REPOSITORY

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto"),
]
SHIPPED = REPOSITORY / "broker"
WAIT_S = 20.0
ACCOUNTS = {name: f"password of {name}" for name in ("pi", "jetson", "collector", "operator", "door-camera")}


class Shipped(MosquittoBroker):
    """Mosquitto with the very file that is shipped, its paths moved into a temporary directory."""

    def __init__(self, tls_directory: Path) -> None:
        self.tls_directory = tls_directory
        super().__init__(
            username="planner",
            password="secret",
            tls_cert=str(tls_directory / "server.pem"),
            tls_key=str(tls_directory / "server.key"),
            trusted_ca=str(tls_directory / "ca.pem"),
        )

    def prepare(self, directory: Path) -> tuple[str, ...]:
        server, *_ = super().prepare(directory)
        text = (SHIPPED / "mosquitto.conf").read_text(encoding="utf-8")
        for name in ("server.pem", "server.key"):
            text = text.replace(f"/etc/mosquitto/segue/{name}", str(self.tls_directory / name))
        text = text.replace("/etc/mosquitto/segue/passwords", str(directory / "passwords"))
        text = text.replace("/etc/mosquitto/segue/acl", str(SHIPPED / "mosquitto.acl.example"))
        text = text.replace("/var/lib/mosquitto/", f"{directory}/")
        text = text.replace("listener 8883", f"listener {self.settings.port} 127.0.0.1")
        text = text.replace("log_dest syslog", f"log_dest stdout\nuser {getpass.getuser()}")
        path = directory / "shipped.conf"
        path.write_text(text, encoding="utf-8")
        return (server, "-c", str(path))


async def test_the_shipped_configuration_serves(tls_directory: Path) -> None:
    async with Shipped(tls_directory) as broker, Connection.open(broker.settings) as planner, asyncio.timeout(WAIT_S):
        await planner.subscribe("events")
        await planner.publish("events", b"x" * 3_000_000)
        assert len((await anext(planner)).payload) == 3_000_000


async def test_the_shipped_access_rules_hold() -> None:
    broker = MosquittoBroker(
        username="planner",
        password="secret",
        other_accounts=ACCOUNTS,
        acl_file=SHIPPED / "mosquitto.acl.example",
    )
    async with broker, asyncio.timeout(WAIT_S):
        accounts = {name: replace(broker.settings, username=name, password=ACCOUNTS[name]) for name in ACCOUNTS}
        async with (
            Connection.open(broker.settings, client_id="planner") as planner,
            Connection.open(accounts["pi"], client_id="pi") as pi,
            Connection.open(accounts["door-camera"], client_id="app") as app,
        ):
            await planner.subscribe(topics.presence.any)
            await pi.subscribe(topics.commands("pi"))
            await pi.publish(topics.presence("pi"), b"online", retain=True)
            assert (await anext(planner)).payload == b"online"
            await planner.publish(topics.commands("pi"), b"prepare")
            assert (await anext(pi)).payload == b"prepare"
            await pi.publish(topics.inbox("jetson"), b"feature map")
            await pi.subscribe(topics.outcomes("pi"))
            await pi.publish(topics.outcomes("pi"), b"an outcome")
            assert (await anext(pi)).payload == b"an outcome"
            await app.publish(topics.requests("door"), b"image")
            await app.subscribe(topics.results("door"))
            for intruder, topic in (
                (pi, topics.presence("jetson")),
                (pi, topics.plan("door")),
                (app, topics.requests("other")),
                (app, topics.inbox("pi")),
                (app, topics.outcomes("pi")),
                (app, topics.results("door")),
                (app, topics.policy("door")),
                # An application that poses as a device, and a device that poses as the planner or an operator.
                (app, topics.presence("door-camera")),
                (app, topics.links("door-camera")),
                (app, topics.service_presence("door-camera")),
                (pi, topics.manifest("ab" * 32)),
                (pi, topics.offer("ab" * 32)),
                (pi, topics.status("door")),
            ):
                with pytest.raises(PublishFailed, match=r"(?i)not authorized"):
                    await intruder.publish(topic, b"forged")


async def test_a_device_hears_of_services_under_the_shipped_rules() -> None:
    """Monitors probe devices that have a monitor; sources tell a collector that comes what it has not confirmed."""
    rules = SHIPPED / "mosquitto.acl.example"
    broker = MosquittoBroker(username="pi", password="x", other_accounts={"collector": "y"}, acl_file=rules)
    async with broker, asyncio.timeout(WAIT_S):
        collector = replace(broker.settings, username="collector", password="y")
        async with Connection.open(broker.settings) as pi, Connection.open(collector) as other:
            await pi.subscribe(topics.service_presence.any)
            await pi.publish(topics.service_presence("monitor-pi"), b"mine")
            assert (await anext(pi)).payload == b"mine"
            await other.publish(topics.service_presence("collector"), b"here")
            assert (await anext(pi)).payload == b"here"


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
