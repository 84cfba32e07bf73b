import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from services.executor.errors import CannotPrepare
from services.executor.segments.engine import EngineSettings
from services.executor.segments.lifecycle import SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.segment_events import EpochKey, SegmentKey
from services.executor.segments.segment_pool import SegmentPool
from shared.messages.control import Prepare, Ready, Rejected, RejectionCause, SegmentRange
from shared.messages.models import Manifest, ModelVersion

EPOCH = EpochKey("s", 1)


@asynccontextmanager
async def running(
    store: ModelCache, limit_bytes: int | None = None
) -> AsyncIterator[tuple[SegmentPool, asyncio.Queue[Ready | Rejected]]]:
    answers: asyncio.Queue[Ready | Rejected] = asyncio.Queue()
    pool = SegmentPool("d", store, EngineSettings(), SegmentLifecycle(limit_bytes, linger_s=0.0), answers.put)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(pool.run())
        yield pool, answers
        task.cancel()


def asked(manifest: Manifest, *ranges: tuple[int, int], epoch: int = 1) -> Prepare:
    segments = tuple(SegmentRange(start=start, stop=stop) for start, stop in ranges)
    return Prepare(stream="s", epoch=epoch, manifest=manifest, segments=segments)


async def test_an_epoch_is_prepared_used_and_dropped(manifest: Manifest, store: ModelCache) -> None:
    async with running(store) as (pool, answers):
        await pool.prepare(asked(manifest, (0, 2), (2, 4)))
        assert await answers.get() == Ready(device="d", stream="s", epoch=1)
        assert pool.is_prepared("s", 1)
        async with pool.borrow(EPOCH, SegmentKey(manifest.model, 0, 2)) as segment:
            assert segment.key.stop == 2
            await pool.release("s", 1)
            await pool.tick()
            assert len(pool.lifecycle.loaded) == 2
        await pool.tick()
        assert not pool.lifecycle.loaded


async def test_what_was_never_prepared_is_built_for_all_who_wait(manifest: Manifest, store: ModelCache) -> None:
    key = SegmentKey(manifest.model, 1, 3)

    async def use() -> int:
        async with pool.borrow(EPOCH, key) as segment:
            return id(segment)

    async with running(store) as (pool, _):
        pool.know(manifest)
        assert len(set(await asyncio.gather(*(use() for _ in range(5))))) == 1


async def test_a_model_nobody_knows_cannot_be_borrowed(store: ModelCache) -> None:
    async with running(store) as (pool, _):
        with pytest.raises(CannotPrepare, match="no manifest"):
            async with pool.borrow(EPOCH, SegmentKey("0" * 64, 0, 1)):
                raise AssertionError("it was borrowed")


async def test_blocks_that_do_not_exist_are_rejected_and_all_who_wait_are_told(
    manifest: Manifest, store: ModelCache
) -> None:
    key = SegmentKey(manifest.model, 1, 99)

    async def use() -> None:
        async with pool.borrow(EPOCH, key):
            raise AssertionError("it was borrowed")

    async with running(store) as (pool, answers):
        await pool.prepare(asked(manifest, (1, 99)))
        results = await asyncio.gather(use(), use(), return_exceptions=True)
        assert all(isinstance(result, CannotPrepare) for result in results)
        answer = await answers.get()
        assert isinstance(answer, Rejected)
        assert answer.cause is RejectionCause.ERROR


async def test_too_much_is_rejected_without_being_built(manifest: Manifest, store: ModelCache) -> None:
    async with running(store, limit_bytes=10) as (pool, answers):
        await pool.prepare(asked(manifest, (0, 3)))
        answer = await answers.get()
        assert isinstance(answer, Rejected)
        assert answer.cause is RejectionCause.MEMORY


def encoded(manifest: Manifest, codec: str, epoch: int) -> Prepare:
    """Ask for blocks 0 and 1, behind which the tensor is large enough to be encoded in their graph."""
    return Prepare(stream="s", epoch=epoch, manifest=manifest, segments=(SegmentRange(start=0, stop=2, codec=codec),))


async def test_one_session_serves_an_epoch_whatever_travels(manifest: Manifest, store: ModelCache) -> None:
    plain = SegmentKey(manifest.model, 0, 2)
    async with running(store) as (pool, answers):
        await pool.prepare(encoded(manifest, "uint8+zstd", 1))
        assert isinstance(await answers.get(), Ready)
        async with pool.borrow(EPOCH, plain) as segment:
            assert segment.key.encoding == "uint8"
            assert segment.encoder_for("sparse8") is not None
        await pool.prepare(encoded(manifest, "float16", 1))
        assert isinstance(await answers.get(), Ready)
        assert {key.encoding for key in pool.lifecycle.loaded} == {"uint8"}


async def test_another_encoding_is_another_session_and_the_old_one_goes(manifest: Manifest, store: ModelCache) -> None:
    plain = SegmentKey(manifest.model, 0, 2)
    async with running(store) as (pool, answers):
        for epoch, codec in ((1, "uint8"), (2, "float16"), (3, "raw")):
            await pool.prepare(encoded(manifest, codec, epoch))
            assert isinstance(await answers.get(), Ready)
            async with pool.borrow(EpochKey("s", epoch), plain) as segment:
                assert segment.key.encoding == codec.replace("raw", "")
            await pool.release("s", epoch - 1)
            await pool.tick()
            assert len(pool.lifecycle.loaded) == 1


async def test_a_corrected_manifest_serves_new_epochs_while_old_ones_keep_theirs(
    manifest: Manifest, store: ModelCache
) -> None:
    steps = manifest.preprocessing.model_copy(update={"mean": (1.0, 2.0, 3.0)})
    corrected = manifest.model_copy(update={"preprocessing": steps})
    key, second = SegmentKey(manifest.model, 0, 2), EpochKey("s", 2)
    async with running(store) as (pool, answers):
        await pool.prepare(asked(manifest, (0, 2)))
        assert isinstance(await answers.get(), Ready)
        pool.know(corrected)
        async with pool.borrow(EPOCH, key) as segment:
            assert segment.manifest == manifest
            before = segment
        await pool.prepare(asked(corrected, (0, 2), epoch=2))
        assert isinstance(await answers.get(), Ready)
        async with pool.borrow(EPOCH, key) as old, pool.borrow(second, key) as new:
            assert (old.manifest, new.manifest) == (manifest, corrected)
            assert new.session is before.session
        async with pool.borrow(EpochKey("unknown", 1), key) as segment:
            assert segment.manifest == corrected
        await pool.release("s", 1)
        await pool.tick()
        assert len(pool.lifecycle.loaded) == 1
        # The command for the first epoch comes once more: it does not bring the old manifest back for others.
        await pool.prepare(asked(manifest, (0, 2)))
        assert isinstance(await answers.get(), Ready)
        assert pool.manifest(manifest.model) == corrected


def kept(manifest: Manifest) -> ModelVersion:
    version = manifest.version()
    return ModelVersion(model=manifest.model, version=version, number=1, added_at_s=0.0, manifest=manifest)


async def test_a_plan_runs_under_the_version_that_it_names(manifest: Manifest, store: ModelCache) -> None:
    """As after a restart: no Prepare comes, and the newest manifest is another one."""
    older, newest = kept(manifest), manifest.model_copy(update={"labels": ("a",)})
    async with running(store) as (pool, _):
        pool.know(newest)
        pool.version_known(older.version, older)
        assert pool.manifest(manifest.model, older.version) == manifest
        assert pool.manifest(manifest.model) == pool.manifest(manifest.model, "unknown") == newest
        assert set(pool.manifests) == {manifest, newest}
        pool.plan_known(EPOCH, pool.manifest(manifest.model, older.version))
        async with pool.borrow(EPOCH, SegmentKey(manifest.model, 0, 2)) as segment:
            assert segment.manifest == manifest
        assert pool.manifest_of(EpochKey(EPOCH.stream, 99), manifest.model) == newest
        pool.version_known(older.version, None)
        assert pool.manifest(manifest.model, older.version) == newest


async def test_an_epoch_that_was_not_prepared_stays_with_its_first_manifest(
    manifest: Manifest, store: ModelCache
) -> None:
    corrected = manifest.model_copy(update={"labels": ("a",)})
    async with running(store) as (pool, _):
        pool.know(manifest)
        async with pool.borrow(EPOCH, SegmentKey(manifest.model, 0, 2)) as segment:
            assert segment.manifest == manifest
        pool.know(corrected)
        async with pool.borrow(EPOCH, SegmentKey(manifest.model, 2, 4)) as segment:
            assert segment.manifest == manifest
        pool.know(manifest.model_copy(update={"name": "renamed"}))
        assert len(pool.lifecycle.loaded) == 2


async def test_a_feature_map_of_an_unknown_epoch_takes_what_is_loaded(manifest: Manifest, store: ModelCache) -> None:
    async with running(store) as (pool, answers):
        await pool.prepare(encoded(manifest, "uint8", 1))
        assert isinstance(await answers.get(), Ready)
        async with pool.borrow(EpochKey("other", 9), SegmentKey(manifest.model, 0, 2)) as segment:
            assert segment.key.encoding == "uint8"
        assert len(pool.lifecycle.loaded) == 1


async def test_a_segment_that_is_built_again_while_others_are_dropped_stays(
    manifest: Manifest, store: ModelCache
) -> None:
    """Memory is given back on a thread, and meanwhile the next epoch may ask for a segment that was just dropped."""
    # One worker, which is busy: what a thread has to do waits until `may_go_on`.
    workers = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(workers)
    may_go_on = threading.Event()
    async with running(store) as (pool, answers):
        await pool.prepare(asked(manifest, (0, 2), (2, 4)))
        assert isinstance(await answers.get(), Ready)
        await pool.release("s", 1)
        busy = workers.submit(may_go_on.wait, 20.0)
        dropping = asyncio.create_task(pool.tick())
        # Tasks begin in the order of their creation, so the segments have been dropped before.
        await asyncio.create_task(pool.prepare(asked(manifest, (2, 4), epoch=2)))
        may_go_on.set()
        await dropping
        assert await answers.get() == Ready(device="d", stream="s", epoch=2)
        async with pool.borrow(EpochKey("s", 2), SegmentKey(manifest.model, 2, 4)) as segment:
            assert segment.key.start == 2
    assert busy.result()
