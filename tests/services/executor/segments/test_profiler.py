import asyncio
import fcntl
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from services.cli.support.manifest import build_manifest
from services.executor.errors import CannotPrepare
from services.executor.segments.compute_queue import Ticket
from services.executor.segments.engine import EngineSettings
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.prepare import prepare
from services.executor.segments.processor import Processor
from services.executor.segments.profile_attempts import ProfileAttempts
from services.executor.segments.profile_groups import group_blocks, memory_of
from services.executor.segments.profiler import Profiler, profile_path, sample_request
from shared.messages.devices import REFUSED_MS
from shared.messages.models import Manifest, Preprocessing, TensorDescription
from tests.support.endless_models import endless_loop


def with_foreign_operator() -> bytes:
    """Return a chain of MatMul, an operator of a foreign domain, and MatMul."""
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MyOp", ["a"], ["b"], domain="my"),
        node("MatMul", ["b", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", 1, [1, 4])],
        [value("y", 1, [1, 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
        value_info=[value("b", 1, [1, 4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


async def nowhere(start: int, stop: int) -> Path:
    raise AssertionError("it is measured")


def profiler(tmp_path: Path, processor: Processor, threads: int = 1) -> Profiler:
    return Profiler(tmp_path / "profiles", EngineSettings(threads=threads), processor, tmp_path / "lock")


async def test_every_block_is_measured_and_the_result_kept(
    manifest: Manifest, store: ModelCache, tmp_path: Path
) -> None:
    async with Processor.open() as processor:
        found = await profiler(tmp_path, processor).profile(manifest, partial(store.path, manifest))
        assert len(found.block_ms) == len(manifest.blocks)
        assert found.block_ms[0] > 0
        assert sum(found.block_ms[1:]) > 0
        again = profiler(tmp_path, processor)
        assert await again.cached(manifest) == found
        assert await again.profile(manifest, nowhere) == found


async def test_another_engine_is_measured_anew(manifest: Manifest, store: ModelCache, tmp_path: Path) -> None:
    async with Processor.open() as processor:
        await profiler(tmp_path, processor).profile(manifest, partial(store.path, manifest))
        assert await profiler(tmp_path, processor, threads=2).cached(manifest) is None


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"block_ms": "x", "segment_overhead_ms": 0}',
        '{"block_ms": [1]}',
        '{"block_ms": [1], "segment_overhead_ms": 0, "refusals": [], "memory_limit_bytes": null, "row_ms": [1]}',
        '{"block_ms": [1], "segment_overhead_ms": 0, "refusals": [], "memory_limit_bytes": null, "row_ms": {"1": 2}}',
    ],
)
async def test_a_damaged_file_is_measured_again(
    manifest: Manifest, store: ModelCache, tmp_path: Path, text: str
) -> None:
    async with Processor.open() as processor:
        found = await profiler(tmp_path, processor).profile(manifest, partial(store.path, manifest))
        (kept,) = (tmp_path / "profiles").iterdir()
        kept.write_text(text)
        assert await profiler(tmp_path, processor).cached(manifest) is None
        again = await profiler(tmp_path, processor).profile(manifest, partial(store.path, manifest))
    assert len(again.block_ms) == len(found.block_ms)


async def test_executors_of_one_machine_take_turns(manifest: Manifest, store: ModelCache, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    async with asyncio.timeout(30), Processor.open() as processor:
        measuring = asyncio.ensure_future(
            profiler(tmp_path, processor).profile(manifest, partial(store.path, manifest))
        )
        done, _ = await asyncio.wait({measuring}, timeout=0.2)
        assert not done
        os.close(descriptor)
        assert (await measuring).block_ms


async def test_a_model_that_does_not_load_is_told(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")

    async def damaged(start: int, stop: int) -> Path:
        return tmp_path / "x.onnx"

    async with Processor.open() as processor:
        with pytest.raises(CannotPrepare):
            await profiler(tmp_path, processor).profile(manifest, damaged)


def test_sample_requests_are_inputs(manifest: Manifest) -> None:
    assert sample_request(manifest).startswith(b"\xff\xd8\xff")
    plain = manifest.model_copy(update={"preprocessing": Preprocessing()})
    pair = plain.model_copy(
        update={
            "inputs": (
                TensorDescription(name="a", shape=(2, 3), dtype="float32"),
                TensorDescription(name="b", shape=(4,), dtype="int64"),
            )
        }
    )
    for described in (manifest, plain, pair):
        tensors = prepare(sample_request(described), described)
        assert [tensors[spec.name].shape for spec in described.inputs] == [spec.shape for spec in described.inputs]


async def test_blocks_are_measured_in_groups_that_fit_into_memory(
    manifest: Manifest, store: ModelCache, tmp_path: Path
) -> None:
    needs = [memory_of(manifest.blocks, block, block + 1) for block in range(1, len(manifest.blocks))]
    limit_bytes = max(manifest.size_bytes, max(needs))
    fetched: list[tuple[int, int]] = []

    async def fetch(start: int, stop: int) -> Path:
        fetched.append((start, stop))
        return await store.path(manifest, start, stop)

    async with Processor.open() as processor:
        limited = replace(profiler(tmp_path, processor), memory_limit_bytes=limit_bytes)
        found = await limited.profile(manifest, fetch)
        assert await replace(limited, memory_limit_bytes=None).cached(manifest) == found
    assert found.refusals == ()
    assert tuple(fetched) == group_blocks(manifest.blocks, limit_bytes).groups
    assert max(found.block_ms) < REFUSED_MS


async def test_blocks_that_do_not_fit_are_refused_and_not_fetched(
    manifest: Manifest, store: ModelCache, tmp_path: Path
) -> None:
    huge = manifest.blocks[2].model_copy(update={"parameter_bytes": 2**40})
    described = manifest.model_copy(update={"blocks": (*manifest.blocks[:2], huge, *manifest.blocks[3:])})
    fetched: list[int] = []

    async def fetch(start: int, stop: int) -> Path:
        fetched.extend(range(start, stop))
        return await store.path(manifest, start, stop)

    async with Processor.open() as processor:
        limited = replace(profiler(tmp_path, processor), memory_limit_bytes=2**30)
        found = await limited.profile(described, fetch)
        # More memory may change the answer.
        assert await limited.cached(described) == found
        assert await replace(limited, memory_limit_bytes=2**41).cached(described) is None
    (refusal,) = found.refusals
    assert (refusal.start, refusal.stop) == (2, 3)
    assert "1048576.0 MiB are needed" in refusal.reason
    assert 2 not in fetched
    assert [block for block, took_ms in enumerate(found.block_ms) if took_ms == REFUSED_MS] == [2]


async def test_a_block_that_the_engine_lacks_is_refused_with_its_words(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(with_foreign_operator())
    manifest = build_manifest(path)

    async def fetch(start: int, stop: int) -> Path:
        return path

    async with Processor.open() as processor:
        found = await profiler(tmp_path, processor).profile(manifest, fetch)
    assert len(manifest.blocks) == 4
    assert [(each.start, each.stop) for each in found.refusals] == [(2, 3)]
    assert "MyOp" in found.refusals[0].reason
    assert "ONNXRuntimeError" not in found.refusals[0].reason
    assert max(found.block_ms[:2] + found.block_ms[3:]) < REFUSED_MS


async def test_a_block_without_end_is_refused_and_keeps_no_request_waiting(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(endless_loop())
    manifest = build_manifest(path)

    async def fetch(start: int, stop: int) -> Path:
        return path

    async with Processor.open() as processor:
        measuring = replace(profiler(tmp_path, processor), engine=EngineSettings(base_limit_s=0.6))
        profiling = asyncio.create_task(measuring.profile(manifest, fetch))
        waits_ms = []
        while not profiling.done():
            waits_ms.append((await processor.run(lambda: None, Ticket("request"))).queue_ms)
            await asyncio.sleep(0)
        found = await profiling
    (refusal,) = found.refusals
    assert (refusal.start, refusal.stop) == (len(manifest.blocks) - 1, len(manifest.blocks))
    assert "a run did not end within 0.6 s, in node 'forever' (Loop)" in refusal.reason
    assert max(found.block_ms[:-1]) < REFUSED_MS
    assert max(waits_ms) < 600


async def test_requests_do_not_wait_for_the_runs_of_a_long_block(
    manifest: Manifest, store: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.executor.segments.profiler._LONG_RUN_MS", 0.0)
    jobs: list[object] = []
    run = Processor.run

    async def noted(self: Processor, work: partial[object], *rest: Ticket) -> object:
        jobs.append(work.func)
        return await run(self, work, *rest)

    monkeypatch.setattr(Processor, "run", noted)
    async with Processor.open() as processor:
        found = await profiler(tmp_path, processor).profile(manifest, partial(store.path, manifest))
    assert set(jobs) == {prepare}
    assert found.segment_ms(1, len(found.block_ms)) > 0


async def test_what_killed_the_process_twice_is_not_measured_again(
    manifest: Manifest, store: ModelCache, tmp_path: Path
) -> None:
    async with Processor.open() as processor:
        mine = profiler(tmp_path, processor)
        note = profile_path(mine.folder, manifest, mine.engine).with_suffix(".attempts")
        for start, stop in ((1, 2), (1, 2)):
            ProfileAttempts(note).begin(start, stop)
        found = await mine.profile(manifest, partial(store.path, manifest))
    assert [(each.start, each.stop) for each in found.refusals] == [(1, 2)]
    assert found.refusals[0].reason == "measuring has ended the process twice"
