"""Profiles of a real model, published through a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.engine import EngineSettings
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profile_publisher import ProfilePublisher
from services.executor.segments.profiler import Profiler, keep_profile, profile_path
from shared.bus.connection import Connection
from shared.messages.control import REPORTS, ProfileFailed, RejectionCause
from shared.messages.devices import Profile
from shared.messages.models import Manifest
from tests.support.task_groups import cancelled_at_the_end


@dataclass
class Bench:
    """The publisher of the device `d`, and a connection that hears it."""

    publisher: ProfilePublisher
    ear: Connection
    profiles_dir: Path

    def keep(self, manifest: Manifest) -> IdleProfile:
        """Write a profile to disk, as if it had been measured before a restart."""
        profile = IdleProfile(tuple(float(number) for number in range(len(manifest.blocks))))
        keep_profile(profile_path(self.profiles_dir, manifest, EngineSettings()), profile)
        return profile

    async def published(self) -> Profile:
        return Profile.decode((await anext(self.ear)).payload)


@pytest.fixture
async def bench(store: ModelCache, tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        ear = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe("devices/#")
        control = await stack.enter_async_context(Connection.open(settings))
        processor = await stack.enter_async_context(Processor.open())
        outbox = Outbox("d", control)
        profiler = Profiler(tmp_path / "profiles", EngineSettings(), processor, tmp_path / "lock")
        publisher = ProfilePublisher("d", store, profiler, DeviceSpeed(), outbox)
        async with asyncio.timeout(60), cancelled_at_the_end() as group:
            group.create_task(outbox.run())
            group.create_task(publisher.run())
            yield Bench(publisher, ear, tmp_path / "profiles")


async def test_a_profile_that_is_asked_for_is_measured_and_published(bench: Bench, manifest: Manifest) -> None:
    await bench.publisher.measure(manifest)
    profile = await bench.published()
    assert (profile.device, profile.model) == ("d", manifest.model)
    assert len(profile.block_ms) == len(manifest.blocks)
    assert [message.block_ms for message in bench.publisher.messages()] == [profile.block_ms]


async def test_tiles_that_are_asked_for_come_after_the_profile(bench: Bench, manifest: Manifest) -> None:
    await bench.publisher.measure(manifest, in_tiles=True)
    assert (await bench.published()).row_times is None
    with_tiles = await bench.published()
    assert with_tiles.row_times
    assert all(manifest.blocks[each.block].tileable for each in with_tiles.row_times)
    # They are on disk now: a second order measures nothing, and publishes once.
    await bench.publisher.measure(manifest, in_tiles=True)
    assert (await bench.published()).row_times == with_tiles.row_times


async def test_a_profile_survives_tiles_that_cannot_be_measured(bench: Bench, manifest: Manifest) -> None:
    # The file has one block more.
    shorter = manifest.model_copy(update={"blocks": manifest.blocks[:-1]})
    kept = bench.keep(shorter)
    await bench.publisher.measure(shorter, in_tiles=True)
    assert (await bench.published()).block_ms == kept.block_ms
    # Orders are worked off in turn: nothing was published between the two.
    bench.keep(manifest)
    await bench.publisher.recall(manifest)
    assert len((await bench.published()).block_ms) == len(manifest.blocks)


async def test_a_profile_on_disk_is_published_without_being_asked_for(bench: Bench, manifest: Manifest) -> None:
    kept = bench.keep(manifest)
    await bench.publisher.recall(manifest)
    assert (await bench.published()).block_ms == kept.block_ms


@pytest.mark.parametrize("retained_first", [True, False])
async def test_an_inherited_profile_is_replaced_by_a_measured_one(
    bench: Bench, manifest: Manifest, retained_first: bool
) -> None:
    if retained_first:
        await bench.publisher.note_retained(manifest.model)
    await bench.publisher.recall(manifest)
    if not retained_first:
        await bench.publisher.note_retained(manifest.model)
    assert len((await bench.published()).block_ms) == len(manifest.blocks)


async def test_without_a_profile_on_disk_nothing_is_measured_unasked(bench: Bench, manifest: Manifest) -> None:
    await bench.publisher.recall(manifest)
    # Orders are worked off in turn: the failure of the second shows that the first has published nothing.
    await bench.publisher.measure(manifest.model_copy(update={"blocks": manifest.blocks[:-1]}))
    failed = REPORTS.decode((await anext(bench.ear)).payload)
    assert isinstance(failed, ProfileFailed)
    assert failed.cause is RejectionCause.MODEL_INVALID


async def test_the_profile_s_own_echo_is_no_inherited_one(bench: Bench, manifest: Manifest) -> None:
    kept = bench.keep(manifest)
    await bench.publisher.measure(manifest)
    await bench.published()
    await bench.publisher.note_retained(manifest.model)
    await bench.publisher.publish_all()
    assert (await bench.published()).block_ms == kept.block_ms
