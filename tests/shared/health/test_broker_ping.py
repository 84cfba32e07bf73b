"""A broker's health: real brokers with and without TLS, a port without one, and one of something else."""

import asyncio
import json
import socket
import threading
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.process import free_port
from shared.health.broker_ping import BrokerPlace, ping_broker
from tests.support.fleet_broker import make_fleet, running


async def test_an_embedded_broker_serves_until_it_is_stopped() -> None:
    async with EmbeddedBroker() as broker:
        place = BrokerPlace(broker.settings.port)
        assert (await asyncio.to_thread(ping_broker, place)).is_ready
        broker.suspend()
        paused = await asyncio.to_thread(ping_broker, place, 0.2)
        broker.resume()
        await broker.stop()
        stopped = await asyncio.to_thread(ping_broker, place)
    assert not paused.is_ready
    assert not stopped.is_ready
    assert not stopped.is_alive


@pytest.mark.mosquitto
async def test_the_mosquitto_of_a_fleet_answers_without_an_account(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    place = BrokerPlace.of_fleet(fleet.path)
    async with running(fleet):
        assert (await asyncio.to_thread(ping_broker, place)).is_ready
        other = make_fleet(tmp_path / "other")
        wrong = BrokerPlace(place.port, place.host, other.path / "authority" / "ca.pem")
        report = await asyncio.to_thread(ping_broker, wrong)
    assert not report.is_ready
    assert "certificate" in report.reason or "signature" in report.reason


def test_nobody_listens() -> None:
    report = ping_broker(BrokerPlace(free_port()))
    assert (report.is_ready, report.is_alive) == (False, False)
    assert "refused" in report.reason


def test_something_else_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def reply() -> None:
            with listener.accept()[0] as accepted:
                accepted.recv(100)
                accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        replying = threading.Thread(target=reply)
        replying.start()
        report = ping_broker(BrokerPlace(listener.getsockname()[1]))
        replying.join()
    assert report.reason == "what listens there is no MQTT broker"


@pytest.mark.parametrize("record", ["[]", "{}", json.dumps({"port": 1, "hosts": []}), "nonsense"])
def test_a_damaged_fleet(tmp_path: Path, record: str) -> None:
    (tmp_path / "fleet.json").write_text(record)
    with pytest.raises(ValueError, match=r"."):
        BrokerPlace.of_fleet(tmp_path)
