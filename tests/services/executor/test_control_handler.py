"""Control messages to a running executor behind a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.config import ExecutorConfig
from services.executor.service import serve
from services.executor.trust_files import write_keys
from shared.bus import topics
from shared.bus.connection import Connection, Properties
from shared.client import Client
from shared.direct.direct_channel import DirectChannel
from shared.direct.direct_listener import DirectListener
from shared.direct.direct_settings import DirectSettings
from shared.direct.direct_transport import DirectTransport
from shared.direct.greetings import Hello
from shared.messages.control import REPORTS, Prepare, Preparing, ProfileModel, Ready, Rejected, Release, SegmentRange
from shared.messages.devices import Emulation, Presence, Profile, State
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest
from shared.messages.requests import AttemptOutcome, ErrorCause, OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage
from shared.signatures import SIGNATURE_PROPERTY, SigningKey
from shared.transport_mode import TransportMode
from shared.user_folders import state_folder


@dataclass
class Bench:
    """The running executor `d`, emulated, and a connection that plays everybody else."""

    connection: Connection
    online: Presence
    folder: Path

    async def hear(self, topic: str) -> bytes:
        async for received in self.connection:
            if received.topic == topic:
                return bytes(received.payload)
        raise AssertionError("unreachable")

    async def publish(self, topic: str, payload: bytes, key: SigningKey | None, number: int = 1) -> None:
        """Publish as a planner with this key."""
        whole = f"{self.connection.settings.root}/{topic}"
        user = {} if key is None else {SIGNATURE_PROPERTY: key.sign(whole, payload, number)}
        await self.connection.publish(topic, payload, retain=topic.endswith("plan"), properties=Properties(user=user))

    async def event(self) -> str:
        return Event.decode(await self.hear(topics.events())).text

    async def presence(self) -> Presence:
        return Presence.decode(await self.hear(topics.presence("d")))

    async def report(self) -> object:
        return REPORTS.decode(await self.hear(topics.reports("d")))


@pytest.fixture
async def bench(manifest: Manifest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        for topic in (topics.presence("d"), topics.reports("d"), topics.events(), topics.profiles("d", "+")):
            await connection.subscribe(topic)
        await connection.publish(topics.manifest(manifest.model), manifest.encode(), retain=True)
        config = ExecutorConfig("d", broker.settings, tmp_path, lock_path=tmp_path / "lock", emulated=True)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            executor = group.create_task(serve(config))
            opened = Bench(connection, Presence(device="d", state=State.OFFLINE), state_folder(tmp_path, "d"))
            opened.online = Presence.decode(await opened.hear(topics.presence("d")))
            yield opened
            executor.cancel()


async def test_a_late_last_will_is_answered_with_the_presence(bench: Bench) -> None:
    offline = bench.online.model_copy(update={"state": State.OFFLINE})
    await bench.connection.publish(topics.presence("d"), offline.encode(), retain=True)
    assert Presence.decode(await bench.hear(topics.presence("d"))).state is State.OFFLINE
    assert Presence.decode(await bench.hear(topics.presence("d"))) == bench.online


async def test_a_presence_that_does_not_decode_is_replaced_by_the_devices_own(bench: Bench) -> None:
    await bench.connection.publish(topics.presence("d"), b"garbage", retain=True)
    assert await bench.hear(topics.presence("d")) == b"garbage"
    assert Presence.decode(await bench.hear(topics.presence("d"))) == bench.online


async def test_a_plan_beyond_the_model_is_refused_and_the_next_message_is_handled(
    bench: Bench, manifest: Manifest
) -> None:
    last = len(manifest.blocks)
    route = PlanRoute(stages=(PlanStage(start=0, stop=last + 1, device="d"),))
    plan = CommittedPlan(stream="s", epoch=1, model=manifest.model, source="d", strategy="test", routes=(route,))
    await bench.connection.publish(topics.plan("s"), plan.encode(), retain=True)
    assert f"end after block {last + 1}" in Event.decode(await bench.hear(topics.events())).text
    prepare = Prepare(stream="s", epoch=2, manifest=manifest, segments=(SegmentRange(start=0, stop=1),))
    await bench.connection.publish(topics.commands("d"), prepare.encode())
    assert isinstance(await bench.report(), Preparing)


async def test_a_message_that_does_not_fit_its_topic_is_reported_and_the_next_is_handled(
    bench: Bench, manifest: Manifest
) -> None:
    await bench.connection.publish(topics.presence("elsewhere"), bench.online.encode())
    event = Event.decode(await bench.hear(topics.events()))
    assert event.kind is EventKind.BAD_MESSAGE
    assert "device 'd' is not the topic's" in event.text
    prepare = Prepare(stream="s", epoch=1, manifest=manifest, segments=(SegmentRange(start=0, stop=1),))
    await bench.connection.publish(topics.commands("d"), prepare.encode())
    assert isinstance(await bench.report(), Preparing)


async def test_a_prepare_is_confirmed_at_once_and_answered_when_it_is_done(bench: Bench, manifest: Manifest) -> None:
    prepare = Prepare(stream="s", epoch=1, manifest=manifest, segments=(SegmentRange(start=0, stop=2),))
    await bench.connection.publish(topics.commands("d"), prepare.encode())
    assert await bench.report() == Preparing(device="d", stream="s", epoch=1)
    assert await bench.report() == Ready(device="d", stream="s", epoch=1)
    await bench.connection.publish(topics.commands("d"), Release(stream="s", through_epoch=1).encode())
    impossible = prepare.model_copy(update={"epoch": 2, "segments": (SegmentRange(start=0, stop=99),)})
    await bench.connection.publish(topics.commands("d"), impossible.encode())
    assert isinstance(await bench.report(), Preparing)
    assert isinstance(await bench.report(), Rejected)


async def test_a_plan_from_before_the_start_is_prepared_without_the_planner(bench: Bench, manifest: Manifest) -> None:
    last = len(manifest.blocks)
    stages = (PlanStage(start=0, stop=2, device="d"), PlanStage(start=2, stop=last, device="elsewhere"))
    plan = CommittedPlan(
        stream="s",
        epoch=7,
        model=manifest.model,
        source="elsewhere",
        strategy="test",
        routes=(PlanRoute(stages=stages),),
    )
    await bench.connection.publish(topics.plan("s"), plan.encode(), retain=True)
    assert await bench.report() == Ready(device="d", stream="s", epoch=7)


async def test_only_the_planner_that_came_first_is_followed_until_an_operator_changes_that(
    bench: Bench, manifest: Manifest
) -> None:
    ours, theirs = SigningKey.generate(), SigningKey.generate()
    commands, plan_topic = topics.commands("d"), topics.plan("s")

    def prepare(epoch: int) -> bytes:
        return Prepare(stream="s", epoch=epoch, manifest=manifest, segments=(SegmentRange(start=0, stop=1),)).encode()

    await bench.publish(commands, prepare(1), ours, number=10)
    assert await bench.report() == Preparing(device="d", stream="s", epoch=1)
    assert (await bench.presence()).planner_keys == (ours.public,)
    # Neither without a signature, nor with another key, nor again what was signed before.
    for key, number, reason in ((None, 0, "no signature"), (theirs, 99, "device trust d"), (ours, 9, "older")):
        await bench.publish(commands, prepare(2), key, number)
        assert reason in await bench.event()
    # A plan of another planner waits for the operator, who trusts that planner while the executor runs.
    stages = (PlanStage(start=0, stop=len(manifest.blocks), device="d"),)
    plan = CommittedPlan(
        stream="s",
        epoch=7,
        model=manifest.model,
        source="elsewhere",
        strategy="test",
        routes=(PlanRoute(stages=stages),),
    )
    await bench.publish(plan_topic, plan.encode(), theirs, number=100)
    assert theirs.public in await bench.event()
    await asyncio.to_thread(write_keys, bench.folder, (theirs.public,))
    assert await bench.report() == Ready(device="d", stream="s", epoch=7)
    # The revocation of a plan needs a signature as well.
    await bench.publish(plan_topic, b"", ours, number=200)
    assert ours.public in await bench.event()


async def test_a_device_that_the_planner_takes_for_silent_says_which_right_it_may_lack(
    bench: Bench, manifest: Manifest
) -> None:
    silent = Presence(device="d", state=State.OFFLINE, boot_id=bench.online.boot_id)
    await bench.connection.publish(topics.presence("d"), silent.encode(), retain=True)
    while not (presence := await bench.presence()).trouble:
        pass
    assert presence.trouble.endswith("may deny: read segue/v1/devices/d/commands")
    prepare = Prepare(stream="s", epoch=1, manifest=manifest, segments=(SegmentRange(start=0, stop=1),))
    await bench.connection.publish(topics.commands("d"), prepare.encode())
    while (await bench.presence()).trouble:
        pass


async def test_an_emulated_slowdown_changes_the_published_profile(bench: Bench, manifest: Manifest) -> None:
    topic = topics.profiles("d", manifest.model)
    await bench.connection.publish(topics.commands("d"), ProfileModel(manifest=manifest).encode())
    before = Profile.decode(await bench.hear(topic))
    await bench.connection.publish(topics.emulation("d"), Emulation(device="d", slowdown=4.0).encode(), retain=True)
    after = Profile.decode(await bench.hear(topic))
    assert after.block_ms == pytest.approx([4 * block_ms for block_ms in before.block_ms])


async def test_a_device_connects_to_its_receivers_while_it_prepares(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeted = asyncio.Event()
    greet = DirectListener._greet

    def observed(listener: DirectListener, channel: DirectChannel, hello: Hello) -> None:
        greet(listener, channel, hello)
        greeted.set()

    monkeypatch.setattr(DirectListener, "_greet", observed)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        await connection.subscribe(topics.presence("d"))
        settings = DirectSettings(broker.settings, socket_folder=tmp_path / "sockets")
        peer = await stack.enter_async_context(DirectTransport.open("peer", "boot", settings))
        presence = Presence(device="peer", state=State.ONLINE, boot_id="boot", direct=peer.access)
        await connection.publish(topics.presence("peer"), presence.encode(), retain=True)
        config = ExecutorConfig(
            "d",
            broker.settings,
            tmp_path,
            lock_path=tmp_path / "lock",
            transport=TransportMode.AUTO,
            direct_folder=tmp_path / "sockets",
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            executor = group.create_task(serve(config))
            # Commands are not kept for a device that has not come yet.
            assert Presence.decode((await anext(connection)).payload).state is State.ONLINE
            prepare = Prepare(
                stream="s",
                epoch=1,
                manifest=manifest,
                segments=(SegmentRange(start=0, stop=1),),
                receivers=("peer", "nobody"),
            )
            await connection.publish(topics.commands("d"), prepare.encode())
            await greeted.wait()
            assert list(peer._listener._known) == ["d"]
            executor.cancel()


async def test_of_two_outcomes_of_a_request_the_first_is_published_and_the_other_never(
    bench: Bench, manifest: Manifest
) -> None:
    route = PlanRoute(stages=(PlanStage(start=0, stop=len(manifest.blocks), device="other"),))
    plan = CommittedPlan(stream="s", epoch=1, model=manifest.model, source="d", strategy="test", routes=(route,))
    for topic in (topics.inbox("other"), topics.results("s")):
        await bench.connection.subscribe(topic)
    await bench.publish(topics.plan("s"), plan.encode(), None)
    error = AttemptOutcome(
        request_id="r", stream="s", status=OutcomeStatus.ERROR, attempt=1, cause=ErrorCause.EXECUTION, error="broken"
    )
    result = error.model_copy(update={"status": OutcomeStatus.OK, "attempt": 2, "cause": None, "error": ""})
    async with Client.open(bench.connection.settings) as client, asyncio.TaskGroup() as group:
        answer = group.create_task(client.submit("s", b"photograph", request_id="r", timeout_s=50))
        await bench.hear(topics.inbox("other"))
        for outcome in (error, result):
            await bench.connection.publish(topics.outcomes("d"), outcome.encode_json())
        assert (await answer).error == "broken"
        # A repeated request is answered behind everything that was published before.
        assert (await client.submit("s", b"photograph", request_id="r", timeout_s=50)).error == "broken"
    assert {await bench.hear(topics.results("s")), await bench.hear(topics.results("s"))} == {error.encode_json()}
