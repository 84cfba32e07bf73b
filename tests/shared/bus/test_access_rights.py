"""Rights that Mosquitto's access rules deny are named, also where the broker says nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.mosquitto import MosquittoBroker, find_mosquitto
from shared.bus import topics
from shared.bus.access_rights import MissingRights
from shared.bus.connection import Connection
from shared.bus.errors import PublishForbidden
from shared.bus.feature_maps import transport
from shared.bus.feature_maps.transport import BrokerTransport

WAIT_S = 20.0
RULES = """user pi
topic write segue/v1/devices/+/inbox
topic readwrite segue/v1/devices/pi/receipts
topic write segue/v1/devices/pi/telemetry
"""
needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
on_mosquitto = [pytest.mark.mosquitto, needs_mosquitto]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[MosquittoBroker]:
    rules = tmp_path / "acl"
    rules.write_text(RULES, encoding="utf-8")
    async with MosquittoBroker(username="pi", password="x", acl_file=rules) as running:
        yield running


def test_each_right_is_logged_once_and_forgotten_when_it_is_there(caplog: pytest.LogCaptureFixture) -> None:
    rights = MissingRights()
    assert rights.text == ""
    for _ in range(3):
        rights.note("write", "a/b")
    rights.note("read", "c")
    assert rights.text == "the broker's access rules deny: write a/b, read c"
    assert len(caplog.records) == 2
    rights.forget("write", "a/b")
    assert rights.text == "the broker's access rules deny: read c"


def test_they_are_bounded() -> None:
    rights = MissingRights()
    for number in range(1000):
        rights.note("write", str(number))
    assert rights.text.count("write") == 64


def test_a_topic_is_tried_once_and_again_after_its_right_was_missing() -> None:
    rights = MissingRights()
    assert not rights.is_tried("a")
    assert rights.try_to_write("a")
    assert rights.is_tried("a")
    rights.note("read", "a")
    assert rights.is_tried("a")
    rights.note("write", "a")
    assert not rights.is_tried("a")


def test_the_tried_topics_are_bounded() -> None:
    rights = MissingRights()
    assert [rights.try_to_write(str(number)) for number in range(257)] == [True] * 256 + [False]
    assert not rights.is_tried("256")
    rights.note("write", "0")
    assert rights.try_to_write("256")


class TestOnMosquitto:
    pytestmark = on_mosquitto

    async def test_a_message_of_qos_0_that_is_not_allowed_is_noted(self, broker: MosquittoBroker) -> None:
        async with Connection.open(broker.settings) as connection, asyncio.timeout(WAIT_S):
            await connection.publish(topics.telemetry("pi"), b"x", qos=0)
            assert connection.missing_rights.text == ""
            await connection.publish(topics.observations("pi"), b"x", qos=0)
            assert connection.missing_rights.text.endswith("write segue/v1/devices/pi/observations")

    async def test_a_message_of_qos_1_that_is_not_allowed_is_noted_and_raises(self, broker: MosquittoBroker) -> None:
        async with Connection.open(broker.settings) as connection, asyncio.timeout(WAIT_S):
            with pytest.raises(PublishForbidden, match="no right to write segue/v1/devices/pi/reports"):
                await connection.publish(topics.reports("pi"), b"x")
            assert "write segue/v1/devices/pi/reports" in connection.missing_rights.text

    async def test_an_inbox_that_may_not_be_read_is_noted(
        self, broker: MosquittoBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transport, "_SELF_TEST_S", 0.3)
        async with BrokerTransport.open(broker.settings, "pi") as bulk:
            reading = asyncio.ensure_future(anext(bulk))
            await bulk.check_inbox()
            assert bulk.connection.missing_rights.text.endswith("read segue/v1/devices/pi/inbox")
            reading.cancel()

    async def test_an_inbox_that_may_be_read_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with MosquittoBroker() as open_broker, BrokerTransport.open(open_broker.settings, "pi") as bulk:
            reading = asyncio.ensure_future(anext(bulk))
            await bulk.check_inbox()
            assert bulk.connection.missing_rights.text == ""
            reading.cancel()
