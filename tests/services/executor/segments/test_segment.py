from pathlib import Path

import numpy as np
import pytest

from services.cli.support.manifest import build_manifest
from services.executor.errors import CannotPrepare
from services.executor.results import make_result
from services.executor.segments.engine import EngineSettings
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.profiler import sample_request
from services.executor.segments.segment import REQUEST_TENSOR, build_segments, need_of
from services.executor.segments.segment_events import SegmentKey
from shared.messages.control import RejectionCause
from shared.messages.models import Manifest
from shared.messages.requests import JSON_CONTENT
from tests.support.onnx_texts import onnx_bytes

ENGINE = EngineSettings()


async def test_every_chain_of_segments_gives_the_whole(manifest: Manifest, store: ModelCache) -> None:
    path = await store.path(manifest)
    last = len(manifest.blocks)
    request = {REQUEST_TENSOR: np.frombuffer(sample_request(manifest), np.uint8)}
    (whole,) = build_segments(path, manifest, (SegmentKey(manifest.model, 0, last),), ENGINE).values()
    expected = whole.run(request)
    for cut in range(1, last):
        keys = (SegmentKey(manifest.model, 0, cut), SegmentKey(manifest.model, cut, last))
        head, tail = build_segments(path, manifest, keys, ENGINE).values()
        assert tail.is_last
        assert not head.is_last
        found = tail.run(head.run(request))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_a_dynamic_tail_runs_behind_any_cut(tmp_path: Path, value: float) -> None:
    text = """g (float[3,4] x) => (float[n,4] y) {
        a = MatMul(x, w) b = Softmax(a) s = ReduceSum(x, last) f = Squeeze(s, last) k = Greater(f, zero)
        y = Compress <axis = 0> (b, k)
        }"""
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes(text, w=np.eye(4, dtype=np.float32), zero=np.float32(0), last=np.array([1])))
    described = build_manifest(path)
    last = len(described.blocks)
    request = {REQUEST_TENSOR: np.frombuffer(np.full((3, 4), value, np.float32).tobytes(), np.uint8)}
    rows = 3 if value > 0 else 0
    for cut in range(1, last):
        keys = (SegmentKey(described.model, 0, cut), SegmentKey(described.model, cut, last))
        head, tail = build_segments(path, described, keys, ENGINE).values()
        result = make_result(tail.run(head.run(request)), described, JSON_CONTENT)
        assert [(tensor.name, tensor.shape) for tensor in result.outputs] == [("y", (rows, 4))]


async def test_prepare_alone_needs_no_session(manifest: Manifest, store: ModelCache) -> None:
    key = SegmentKey(manifest.model, 0, 1)
    segment = build_segments(Path("nowhere"), manifest, (key,), ENGINE)[key]
    assert segment.session is None
    outputs = segment.run({REQUEST_TENSOR: np.frombuffer(sample_request(manifest), np.uint8)})
    assert [array.shape for array in outputs.values()] == [spec.shape for spec in manifest.inputs]


@pytest.mark.parametrize(("start", "stop"), [(0, 99), (3, 3), (-1, 2)])
async def test_blocks_that_do_not_exist_are_refused(
    manifest: Manifest, store: ModelCache, start: int, stop: int
) -> None:
    path = await store.path(manifest)
    with pytest.raises(CannotPrepare, match="has blocks"):
        build_segments(path, manifest, (SegmentKey(manifest.model, start, stop),), ENGINE)


async def test_a_manifest_of_another_cut_is_refused(manifest: Manifest, store: ModelCache) -> None:
    path = await store.path(manifest)
    other = manifest.model_copy(update={"blocks": manifest.blocks[:-1]})
    with pytest.raises(CannotPrepare, match="versions differ"):
        build_segments(path, other, (SegmentKey(manifest.model, 0, 2),), ENGINE)


def test_a_file_that_is_no_model_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(CannotPrepare) as refused:
        build_segments(tmp_path / "x.onnx", manifest, (SegmentKey(manifest.model, 0, 2),), ENGINE)
    assert refused.value.cause is RejectionCause.MODEL_INVALID


def test_needs_are_all_parameters_and_the_largest_activation(manifest: Manifest) -> None:
    need = need_of(manifest, SegmentKey(manifest.model, 1, 4))
    blocks = manifest.blocks[1:4]
    assert need.parameter_bytes == sum(block.parameter_bytes for block in blocks) > 0
    assert need.activation_bytes == max(block.activation_bytes for block in blocks) > 0


def test_a_block_without_an_activation_needs_at_least_its_output(manifest: Manifest) -> None:
    block = manifest.blocks[1].model_copy(update={"activation_bytes": 0})
    need = need_of(
        manifest.model_copy(update={"blocks": (manifest.blocks[0], block)}), SegmentKey(manifest.model, 1, 2)
    )
    assert need.activation_bytes == block.output_bytes > 0
