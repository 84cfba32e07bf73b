"""Retained messages of a device on a real broker."""

import asyncio
from pathlib import Path

from broker.embedded import EmbeddedBroker
from services.executor.announcer import Announcer
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.engine import EngineSettings
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profile_publisher import ProfilePublisher
from services.executor.segments.profiler import Profiler
from services.executor.source.journal_thread import JournalThread
from services.executor.source.output_receiver import OutputReceiver
from services.executor.source.source_events import SourceLimits
from services.executor.source.sources import Sources
from shared.bus.connection import Connection
from shared.bus.mqtt.properties import Properties
from shared.messages.devices import Capabilities, Presence, State
from shared.messages.models import Manifest, ManifestBlock
from tests.support.large_outputs import largest_result, outcome_delivery, output_sender
from tests.support.recording_pipeline import RecordingPipeline
from tests.support.task_groups import cancelled_at_the_end

PRESENCE = Presence(
    device="d",
    state=State.ONLINE,
    version="1",
    boot_id="b",
    capabilities=Capabilities(cores=1, memory_bytes=1, architecture="x", provider="p", threads=1),
)


async def test_presence_profiles_and_usage_are_announced_once_the_device_is_ready(
    store: ModelCache, tmp_path: Path
) -> None:
    announcer = Announcer(PRESENCE)
    async with (
        asyncio.timeout(60),
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as ear,
        # The connection is opened before the device is ready: nothing is announced.
        Connection.open(broker.settings, on_connected=announcer.announce) as connection,
        JournalThread.open(tmp_path / "journal.db") as journal,
        Processor.open() as processor,
        cancelled_at_the_end() as group,
    ):
        outbox = Outbox("d", connection)
        speed = DeviceSpeed()
        blocks = (ManifestBlock(name="a", output_bytes=1), ManifestBlock(name="b", output_bytes=1))
        manifest = Manifest(model="0" * 64, name="m", size_bytes=1, inputs=(), outputs=(), blocks=blocks)
        speed.learn(manifest, IdleProfile((1.0, 2.0)))
        profiler = Profiler(tmp_path, EngineSettings(), processor, tmp_path / "lock")
        sources = Sources(
            device="d",
            settings=broker.settings,
            limits=SourceLimits(),
            journal=journal,
            outbox=outbox,
            pipeline=RecordingPipeline(),
            observations=ObservationFeed(outbox),
            outcomes=outcome_delivery(outbox),
            outputs=output_sender(outbox.connection),
            receiver=OutputReceiver(connection, outbox, largest_result, largest_result()),
            group=group,
        )
        source = await sources.begin("s")
        await source.submit(b"123", Properties(), lambda: None)
        await announcer.announce(connection)
        await announcer.begin(connection, ProfilePublisher("d", store, profiler, speed, outbox), sources)
        await ear.subscribe("#")
        retained = {(await anext(ear)).topic for _ in range(3)}
        assert retained == {"devices/d/presence", f"devices/d/profiles/{'0' * 64}", "streams/s/usage"}
        # After a broker without memory has restarted, the connection announces everything again by itself.
        await broker.kill()
        await broker.start()
        again: set[str] = set()
        while not retained <= again:
            again.add((await anext(ear)).topic)
