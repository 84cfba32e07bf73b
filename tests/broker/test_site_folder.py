"""The bridge between two real Mosquittos with TLS, accounts and rights."""

import asyncio
import os
import pickle
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from broker.process import free_port
from broker.site_folder import set_site, write_site
from shared.bus import topics
from shared.bus.connection import Connection, Will
from shared.bus.mqtt.properties import Properties
from shared.bus.receive_queue import Received
from shared.bus.roles import Role
from shared.enrolment import Enrolment
from shared.exit_status import InputError
from tests.support.bridged_sites import SITE, TwoSites, new_fleet, site_broker, two_sites
from tests.support.fleet_broker import WAIT_S, make_fleet, running

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
PROPERTIES = Properties(
    correlation_data=b"\x00\xff",
    response_topic="segue/v1/replies/bell/x",
    content_type="image/jpeg",
    user={"request_id": "r-1", "signature": "s" * 200},
)


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[TwoSites]:
    """The camera and its stream at the site; helper and services at the first broker."""
    fleet = new_fleet(tmp_path)
    with FleetFolder.changing(fleet.path) as opened:
        opened.add("cam", Role.DEVICE, site=SITE).write(opened.accounts)
        opened.add("helper", Role.DEVICE).write(opened.accounts)
        opened.record = opened.record.with_stream("door", "cam")
    async with two_sites(opened, tmp_path, "cam") as both:
        yield both


async def until(connection: Connection, topic: str) -> Received:
    async with asyncio.timeout(WAIT_S):
        async for received in connection:
            if received.topic == topic:
                return received
    raise AssertionError


async def joined(sites: TwoSites, stack: AsyncExitStack) -> tuple[Connection, Connection, Connection, Connection]:
    """Connect cam, helper, planner and collector, once messages pass the bridge both ways."""
    connections = [
        await stack.enter_async_context(Connection.open(sites.settings(name), connect_timeout_s=WAIT_S))
        for name in ("cam", "helper", "planner", "collector")
    ]
    cam, helper, planner, collector = connections
    await helper.subscribe(topics.inbox("helper"))
    await cam.subscribe(topics.inbox("cam"))
    await cam.publish(topics.inbox("helper"), b"ready")
    await until(helper, topics.inbox("helper"))
    await helper.publish(topics.inbox("cam"), b"ready")
    await until(cam, topics.inbox("cam"))
    return cam, helper, planner, collector


@pytest.mark.mosquitto
@needs_mosquitto
async def test_messages_cross_whole_and_once_and_local_ones_stay(sites: TwoSites) -> None:
    async with AsyncExitStack() as stack:
        cam, helper, planner, _ = await joined(sites, stack)
        await planner.publish(topics.plan("door"), b"plan", retain=True, properties=PROPERTIES)
        await planner.subscribe(topics.reports("cam"))
        await cam.subscribe(topics.plan("door"))
        plan = await until(cam, topics.plan("door"))
        assert plan.properties == PROPERTIES
        # A later subscriber of the site is served by its own broker.
        late = await stack.enter_async_context(Connection.open(sites.settings("cam")))
        await late.subscribe("streams/+/plan")
        received = await until(late, topics.plan("door"))
        assert (received.retain, received.properties) == (True, PROPERTIES)
        await planner.publish(topics.plan("door"), b"", retain=True)
        assert bytes((await until(cam, topics.plan("door"))).payload) == b""

        before_bytes = sites.way.passed_bytes
        for _ in range(4):
            await cam.publish(topics.inbox("cam"), b"x" * 500_000)
            await helper.publish(topics.inbox("helper"), b"x" * 500_000)
        await cam.publish(topics.reports("cam"), b"first")
        await cam.publish(topics.reports("cam"), b"last")
        found = [bytes((await until(planner, topics.reports("cam"))).payload) for _ in range(2)]
        assert found == [b"first", b"last"]
        assert sites.way.passed_bytes - before_bytes < 100_000


@pytest.mark.mosquitto
@needs_mosquitto
async def test_the_will_of_a_device_crosses_and_stays(sites: TwoSites) -> None:
    async with AsyncExitStack() as stack:
        _, _, planner, collector = await joined(sites, stack)
        await planner.subscribe(topics.presence("cam"))
        will = Will(topics.presence("cam"), b"gone")
        program = (
            "import asyncio, sys, pickle\nfrom shared.bus.connection import Connection\n"
            "settings, will = pickle.loads(sys.stdin.buffer.read())\n"
            "async def run():\n    async with Connection.open(settings, will=will) as c:\n"
            "        await c.publish('devices/cam/presence', b'here', retain=True)\n"
            "        await asyncio.Event().wait()\n"
            "asyncio.run(run())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, cwd=os.getcwd()
        )
        try:
            assert process.stdin is not None
            process.stdin.write(pickle.dumps((sites.settings("cam"), will)))
            process.stdin.close()
            assert bytes((await until(planner, topics.presence("cam"))).payload) == b"here"
        finally:
            process.kill()
            await process.wait()
        assert bytes((await until(planner, topics.presence("cam"))).payload) == b"gone"
        await collector.subscribe("devices/+/presence")
        assert bytes((await until(collector, topics.presence("cam"))).payload) == b"gone"


@pytest.mark.mosquitto
@needs_mosquitto
async def test_while_the_bridge_is_cut_a_site_goes_on_and_afterwards_sends_what_has_waited(sites: TwoSites) -> None:
    async with AsyncExitStack() as stack:
        cam, _, planner, collector = await joined(sites, stack)
        await collector.subscribe(topics.results("door"))
        await cam.subscribe(topics.plan("door"))
        sites.way.cut()
        for number in range(30):
            await cam.publish(topics.results("door"), b"%d" % number)
        await planner.publish(topics.plan("door"), b"new", retain=True, properties=PROPERTIES)
        await cam.publish(topics.inbox("cam"), b"local")
        assert bytes((await until(cam, topics.inbox("cam"))).payload) == b"local"
        await sites.way.mend()
        found = [int(bytes((await until(collector, topics.results("door"))).payload)) for _ in range(30)]
        assert found == list(range(30))
        plan = await until(cam, topics.plan("door"))
        assert (bytes(plan.payload), plan.properties) == (b"new", PROPERTIES)


@pytest.mark.mosquitto
@needs_mosquitto
async def test_members_use_either_of_two_twins(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet", "127.0.0.1")
    with FleetFolder.changing(fleet.path) as opened:
        set_site(opened, "b", ("127.0.0.1",), free_port(), is_twin=True)
    async with running(opened), site_broker(opened, tmp_path, "operator", "b") as sites:
        first = sites.settings("operator")
        twin = replace(first, port=opened.record.site("b").port)
        async with Connection.open(first) as here, Connection.open(twin) as there:
            for sender, receiver, topic in ((here, there, "streams/one"), (there, here, "streams/two")):
                await receiver.subscribe(topic)
                await sender.publish(topic, b"1", retain=True, properties=PROPERTIES)
                received = await until(receiver, topic)
                assert received.properties == PROPERTIES
                await sender.publish(topic, b"", retain=True)
                # The next message is the end of it: the first one has come once, and was not sent back.
                assert bytes((await until(receiver, topic)).payload) == b""


def test_a_site_has_its_own_accounts_only_and_the_bridge_the_rights_it_needs(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    with FleetFolder.changing(fleet.path) as opened:
        cam = opened.add("cam", Role.DEVICE, site=SITE)
        opened.add("helper", Role.DEVICE)
    write_site(opened, SITE, tmp_path / "out")
    assert Enrolment.from_text(cam.to_text()).port == opened.record.site(SITE).port
    assert [line.split(":")[0] for line in (tmp_path / "out" / "passwords").read_text().splitlines()] == ["cam"]
    assert "user helper" not in (tmp_path / "out" / "rules").read_text()
    first = (fleet.path / "broker" / "passwords").read_text()
    assert "site-barn:" in first
    assert "cam:" not in first
    rules = (fleet.path / "broker" / "rules").read_text().partition("user site-barn\n")[2]
    assert "topic write segue/v1/devices/cam/telemetry\n" in rules
    assert "topic read segue/v1/devices/cam/commands\n" in rules
    assert "topic readwrite segue/v1/devices/cam/presence\n" in rules
    assert "requests" not in rules
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_twin_has_the_members_of_the_first_broker(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    with FleetFolder.changing(fleet.path) as opened:
        opened.add("cam", Role.DEVICE, site=SITE)
        opened.add("helper", Role.DEVICE)
        set_site(opened, "b", ("segue-broker",), None, first_host="segue-broker-a", is_twin=True)
        set_site(opened, "b", (), 8884)
    write_site(opened, "b", tmp_path / "out", Path("/etc/segue/broker"))
    configuration = (tmp_path / "out" / "mosquitto.conf").read_text()
    assert f"address segue-broker-a:{fleet.record.port}\n" in configuration
    assert "acl_file /etc/segue/broker/rules\n" in configuration
    assert "topic segue/v1/# both 1\n" in configuration
    passwords = (tmp_path / "out" / "passwords").read_text()
    assert "helper:" in passwords
    assert "cam:" not in passwords
    first = (fleet.path / "broker" / "rules").read_text().partition("user site-b\n")[2]
    assert first.startswith("topic readwrite segue/v1/#\n")


def test_a_site_is_changed_and_rewritten_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    with FleetFolder.changing(fleet.path) as opened:
        with pytest.raises(InputError, match="site barn is new"):
            set_site(opened, "barn", (), None)
        for name, hosts in (("a/b", ("h",)), ("barn", ("not a host",))):
            with pytest.raises(InputError, match="this cannot be the name, a host or the port"):
                set_site(opened, name, hosts, None)
        set_site(opened, "barn", ("192.0.2.1",), None)
        first = opened.record.site("barn")
        set_site(opened, "barn", (), 8884)
        assert opened.record.site("barn") == first.model_copy(update={"port": 8884})
        with pytest.raises(InputError, match="site-barn is the account of a bridge"):
            opened.add("site-barn", Role.VIEWER)
        with pytest.raises(InputError, match="there is no site attic"):
            opened.add("cam", Role.DEVICE, site="attic")
        opened.add("site-attic", Role.VIEWER)
        with pytest.raises(InputError, match="an account is called site-attic"):
            set_site(opened, "attic", ("192.0.2.1",), None)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "photo.jpg").write_text("")
        with pytest.raises(InputError, match="holds something else"):
            write_site(opened, "barn", tmp_path / "full")
