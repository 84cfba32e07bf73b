"""What accounts of a fleet, and strangers, try on its real Mosquitto, and what becomes of it."""

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import psutil
import pytest

from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from shared.bus import topics
from shared.bus.connection import Connection, Will
from shared.bus.errors import AccessRefused, BrokerUnreachable, PublishForbidden
from shared.bus.roles import Role
from shared.bus.settings import BusSettings
from tests.support.fleet_broker import WAIT_S, make_fleet, own_settings, running, settings_of

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto"),
]
MODEL = "ab" * 32
# Every account but the planner's. The collector and the services of people are trusted with less than it.
OTHERS = ("camera", "helper", "bell", "gardener", "viewer", "collector", "operator")


@dataclass(frozen=True)
class Besieged:
    """A fleet with two devices and two applications, each with a stream of its own."""

    fleet: FleetFolder
    settings: dict[str, BusSettings]
    log: Path

    @contextlib.asynccontextmanager
    async def connected(self, *names: str) -> AsyncIterator[list[Connection]]:
        async with contextlib.AsyncExitStack() as stack:
            opened = [Connection.open(self.settings[name], connect_timeout_s=WAIT_S) for name in names]
            yield [await stack.enter_async_context(each) for each in opened]

    async def assert_refused(self, name: str, texts: Iterable[str]) -> None:
        """Assert that an account may publish on none of some topics, retained or not, with or without a payload."""
        async with self.connected(name) as (connection,):
            for text in texts:
                for payload, retain in ((b"x", False), (b"x", True), (b"", True)):
                    with pytest.raises(PublishForbidden):
                        await connection.publish(text, payload, retain=retain, timeout_s=WAIT_S)

    async def connect_by_hand(
        self, name: str, will: Will | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send CONNECT of an account over TLS."""
        settings = self.settings[name]
        context = ssl.create_default_context(cafile=settings.tls_ca)
        reader, writer = await asyncio.open_connection(settings.host, settings.port, ssl=context)
        texts = [f"raw-{os.urandom(4).hex()}".encode()]
        if will is not None:
            texts += [will.topic.encode(), will.payload]
        texts += [str(settings.username).encode(), str(settings.password).encode()]
        strings = [struct.pack("!H", len(text)) + text for text in texts]
        if will is not None:
            # The properties of a will come before its topic (MQTT 5.0, 3.1.3.2).
            strings.insert(1, b"\0")
        flags = 0xC2 | (0x04 if will is not None else 0)
        body = b"\0\4MQTT\5" + bytes([flags]) + b"\0\x1e\0" + b"".join(strings)
        writer.write(b"\x10" + bytes([0x80 | len(body) % 128, len(body) // 128]) + body)
        return reader, writer

    async def raw(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect an account for hand-made packets."""
        reader, writer = await self.connect_by_hand(name)
        head = await reader.readexactly(2)
        rest = await reader.readexactly(head[1])
        assert (head[0], rest[1]) == (0x20, 0)
        return reader, writer


@pytest.fixture
async def besieged(tmp_path: Path) -> AsyncIterator[Besieged]:
    fleet = make_fleet(tmp_path / "fleet")
    with FleetFolder.changing(fleet.path) as opened:
        members = [opened.add("camera", Role.DEVICE), opened.add("helper", Role.DEVICE)]
        opened.record = opened.record.with_stream("door", "camera").with_stream("yard", "helper")
        members.append(opened.add("bell", Role.APPLICATION, ("door",)))
        members.append(opened.add("gardener", Role.APPLICATION, ("yard",)))
    settings = {each.account: settings_of(each, tmp_path) for each in members}
    settings |= {name: own_settings(fleet, name) for name in ("planner", "collector", "operator", "viewer")}
    async with running(fleet) as log:
        yield Besieged(fleet, settings, log)


async def test_strangers_get_no_connection(besieged: Besieged) -> None:
    camera = besieged.settings["camera"]
    for stranger in (
        replace(camera, password="wrong"),
        replace(camera, password=besieged.settings["helper"].password),
        replace(camera, username=None, password=None),
        replace(camera, username="root"),
        replace(camera, username="camera\nuser root"),
    ):
        with pytest.raises(AccessRefused):
            async with Connection.open(stranger, connect_timeout_s=WAIT_S):
                pass
    with pytest.raises((BrokerUnreachable, AccessRefused)):
        async with Connection.open(replace(camera, tls=False), connect_timeout_s=2.0):
            pass
    assert "not authorised" in besieged.log.read_text()


async def test_nobody_acts_as_another_device_or_as_a_service(besieged: Besieged) -> None:
    as_camera = [
        topics.presence("camera"),
        topics.telemetry("camera"),
        topics.links("camera"),
        topics.reports("camera"),
    ]
    as_camera += [topics.profiles("camera", MODEL), topics.service_presence("monitor-camera"), topics.usage("door")]
    for name in ("helper", "bell", "viewer", "collector"):
        await besieged.assert_refused(name, [*as_camera, topics.service_presence("planner"), topics.commands("camera")])
    # Its account's name is no device: nothing would keep photographs from it otherwise.
    await besieged.assert_refused("bell", [topics.presence("bell"), topics.service_presence("bell")])


async def test_nobody_but_the_planner_publishes_plans(besieged: Besieged) -> None:
    forged = [topics.plan("door"), topics.alternatives("door"), topics.status("door"), topics.commands("camera")]
    for name in OTHERS:
        await besieged.assert_refused(name, forged)


async def test_a_last_will_reaches_no_further_than_its_account(besieged: Besieged) -> None:
    async with besieged.connected("planner", "camera") as (planner, camera):
        await camera.subscribe(topics.plan("door"))
        await camera.subscribe(topics.requests("door"))
        for topic in (topics.plan("door"), topics.requests("door")):
            reader, writer = await besieged.connect_by_hand("bell", will=Will(f"segue/v1/{topic}", b"last will"))
            # A forbidden will is refused now, or is not published later. Without DISCONNECT the broker publishes it.
            assert (await reader.readexactly(2))[0] == 0x20
            writer.transport.abort()
        # The will on the account's own topic shows that wills are published.
        assert (await anext(camera)).topic == topics.requests("door")
        await planner.publish(topics.plan("door"), b"real")
        assert (await anext(camera)).payload == b"real"


async def test_photographs_reach_the_source_and_nobody_else(besieged: Besieged) -> None:
    spies = ("helper", "gardener", "viewer", "operator", "planner")
    async with besieged.connected("bell", "camera", *spies) as (bell, camera, *others):
        await camera.subscribe(topics.requests("door"))
        for spy in others:
            for topic_filter in ("#", "streams/+/requests", "streams/door/requests", "streams/door/#"):
                await spy.subscribe(topic_filter)
        # A shared subscription would take the messages away from the others.
        _, writer = await besieged.raw("gardener")
        shared = b"$share/spies/segue/v1/streams/door/requests"
        body = struct.pack("!HBH", 1, 0, len(shared)) + shared + b"\x01"
        writer.write(bytes([0x82, len(body)]) + body)
        await writer.drain()
        for number in range(20):
            await bell.publish(topics.requests("door"), b"photograph %d" % number)
            assert (await anext(camera)).payload == b"photograph %d" % number
        async with besieged.connected("operator") as (end,):
            await end.publish(topics.stream("yard"), b"end")
        for spy, name in zip(others, spies, strict=True):
            assert (await anext(spy)).topic == topics.stream("yard"), name
        writer.close()


async def test_nobody_but_an_operator_offers_models(besieged: Besieged) -> None:
    poison = [topics.offer(MODEL), topics.manifest(MODEL), topics.model_version(MODEL, "1"), topics.calibration(MODEL)]
    poison += [topics.model_chunks(MODEL, "planner"), topics.model_chunks(MODEL, "camera")]
    for name in ("camera", "helper", "bell", "viewer", "collector"):
        await besieged.assert_refused(name, poison)


async def test_a_service_publishes_for_nobody_where_it_must_not(besieged: Besieged) -> None:
    """What a device's account may not publish, no response topic makes it publish."""
    reflected = ["devices/helper/commands", "streams/yard/plan", "streams/yard/requests", "models/x/offer", "replies"]
    await besieged.assert_refused("camera", [*reflected, "streams/yard", "streams/yard/policy"])
    async with besieged.connected("camera", "gardener", "bell") as (camera, gardener, bell):
        await gardener.subscribe("replies/#")
        await bell.subscribe("replies/#")
        await camera.publish(topics.replies("bell"), b"for the bell")
        await camera.publish(f"{topics.replies('gardener')}/7", b"for the gardener")
        assert (await anext(gardener)).payload == b"for the gardener"
        assert (await anext(bell)).payload == b"for the bell"


async def test_a_flood_is_bounded_and_others_are_served(besieged: Besieged) -> None:
    process = besieged.fleet.broker_process()
    assert process is not None
    # A source that is off: its session takes what waits.
    sleeping = Connection.open(besieged.settings["camera"], client_id="sleeping-source", persistent_session=True)
    async with sleeping as source:
        await source.subscribe(topics.requests("door"))
    async with besieged.connected("bell", "helper") as (bell, helper):
        await helper.subscribe(topics.inbox("helper"))
        flood = [bell.publish(topics.requests("door"), b"x" * 100_000, timeout_s=WAIT_S) for _ in range(1500)]
        task = asyncio.gather(*flood)
        for _ in range(20):
            await helper.publish(topics.inbox("helper"), b"feature map")
            assert (await anext(helper)).payload == b"feature map"
        await task
        assert psutil.Process(process.pid).memory_info().rss < 256 * 2**20


async def test_a_packet_that_is_too_large_is_refused_at_its_beginning(besieged: Besieged) -> None:
    reader, writer = await besieged.raw("bell")
    # PUBLISH of 256 MiB.
    writer.write(b"\x30\xff\xff\xff\x7f\0\x05")
    answer = await reader.read()
    assert (answer[0], answer[2]) == (0xE0, 0x95), "DISCONNECT: packet too large"
    assert "disconnected due to oversize packet" in besieged.log.read_text()
    writer.close()


async def test_what_is_no_packet_ends_its_connection_only(besieged: Besieged) -> None:
    random = Random(7)
    junk = [random.randbytes(200) for _ in range(20)]
    bad = [b"\x30\xff\xff\xff\xff\xff", b"\x00\x00", b"\xf0\x00", b"\x82\x00", b"\x30\x02\x00\x05", b"\x10\x00"]
    async with besieged.connected("helper") as (helper,):
        await helper.subscribe(topics.inbox("helper"))
        for packet in bad:
            reader, writer = await besieged.raw("bell")
            writer.write(packet)
            with contextlib.suppress(OSError):
                await reader.read()
            writer.close()
        for packet in junk:
            # What looks like the beginning of a packet would be waited for.
            _, writer = await besieged.raw("bell")
            writer.write(packet)
            writer.close()
        await helper.publish(topics.inbox("helper"), b"served")
        assert (await anext(helper)).payload == b"served"
