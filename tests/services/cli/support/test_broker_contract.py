"""The contract of a broker: kept by both that Segue supports, and broken in the ways of others."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from services.cli.support import contract_bench
from services.cli.support.broker_contract import try_contract
from services.cli.support.contract_checks import CHECKS, ContractCheck
from shared.bus.connection import Connection
from shared.bus.errors import BrokerUnreachable
from shared.bus.settings import BusSettings
from tests.support.fleet_broker import make_fleet, own_settings, running

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
# The check of what the embedded broker does not do waits in vain, so it is tried apart.
LIMITED = {"300 retained at once"}


class StrictMosquitto(MosquittoBroker):
    """Mosquitto without retained messages."""

    def prepare(self, directory: Path) -> Sequence[str]:
        command = super().prepare(directory)
        with (directory / "mosquitto.conf").open("a", encoding="utf-8") as file:
            file.write("retain_available false\n")
        return command


def checks(*words: str) -> list[ContractCheck]:
    return [check for check in CHECKS if any(word in check.need for word in words)]


async def assert_nothing_is_left(settings: BusSettings) -> None:
    async with Connection.open(settings) as connection:
        await connection.subscribe("#")
        await connection.publish("marker", b"1")
        received = await anext(connection)
    assert received.topic == "marker"


@pytest.mark.mosquitto
@needs_mosquitto
async def test_mosquitto_keeps_all_of_it_and_nothing_stays_there() -> None:
    async with MosquittoBroker() as broker:
        results = await try_contract(broker.settings)
        await assert_nothing_is_left(broker.settings)
    assert {result.check.need: result.text for result in results if not result.is_kept} == {}
    assert [result.check for result in results] == list(CHECKS)


async def test_the_embedded_broker_keeps_what_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddedBroker() as broker:
        results = await try_contract(broker.settings, checks=[each for each in CHECKS if each.need not in LIMITED])
        await assert_nothing_is_left(broker.settings)
        monkeypatch.setattr(contract_bench, "WAIT_S", 1.0)
        (many,) = await try_contract(broker.settings, checks=[each for each in CHECKS if each.need in LIMITED])
    assert [result.check.need for result in results if not result.is_kept] == ["receive maximum"]
    assert not many.is_kept
    assert not many.check.is_required
    assert "of 300 arrive" in many.text


@pytest.mark.mosquitto
@needs_mosquitto
async def test_a_broker_that_retains_nothing_and_takes_small_packets_is_named_so() -> None:
    async with StrictMosquitto(max_packet_bytes=4096) as broker:
        results = await try_contract(broker.settings, checks=checks("retained messages", "through", "MiB", "QoS 0"))
    assert {result.check.need for result in results if result.is_kept} == {"QoS 0"}
    texts = {result.check.need: result.text for result in results}
    assert texts["packets of 1 MiB"] == "it accepts packets of at most 4096 bytes"
    assert texts["retained messages"] == "it says that it retains no messages"


@pytest.mark.mosquitto
@needs_mosquitto
async def test_rules_that_bound_the_account_end_it_with_advice(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    async with running(fleet):
        (result,) = await try_contract(own_settings(fleet, "operator"))
    assert not result.is_kept
    assert "test with an account that access rules do not bound" in result.text


@pytest.mark.mosquitto
@needs_mosquitto
async def test_two_brokers_that_are_not_joined_pass_nothing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_bench, "WAIT_S", 1.0)
    async with MosquittoBroker() as one, MosquittoBroker() as other:
        results = await try_contract(one.settings, other.settings, checks("retained through", "last will", "QoS 0"))
    assert [result.is_kept for result in results] == [False] * 4
    assert "does not arrive within 1 s" in results[0].text


async def test_a_broker_out_of_reach_is_no_broken_contract(unused_tcp_port: int) -> None:
    with pytest.raises(BrokerUnreachable):
        await try_contract(BusSettings(host="127.0.0.1", port=unused_tcp_port))
