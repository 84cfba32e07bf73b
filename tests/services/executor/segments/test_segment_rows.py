"""Graphs of tiles and what they pass on, built from a file of a real model."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from services.cli.support.manifest import build_manifest
from services.executor.errors import CannotPrepare
from services.executor.feature_maps import rows_for
from services.executor.segments.engine import EngineSettings
from services.executor.segments.segment import Segment, build_segments, need_of, open_model, rows_of
from services.executor.segments.segment_events import SegmentKey, Tiling
from shared.messages.control import RejectionCause
from shared.messages.models import Manifest
from shared.model.architectures import build
from shared.model.architectures.builder import GraphBuilder
from shared.model.onnx_file import load_model, write_onnx

ENGINE = EngineSettings()
# Blocks 1 to 5 have rows; the output of block 3 has 16 and that of block 5 has 8.
UPPER, LOWER = Tiling((0, 7), 6, ((0, 3), (3, 8))), Tiling((7, 16), 6, ((0, 3), (3, 8)))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_onnx(build("tiny"), path)
    return path


@pytest.fixture(scope="module")
def manifest(path: Path) -> Manifest:
    return build_manifest(path)


def built(path: Path, manifest: Manifest, start: int, stop: int, tiling: Tiling) -> Segment:
    key = SegmentKey(manifest.model, start, stop, tiling=tiling)
    return build_segments(path, manifest, (key,), ENGINE)[key]


def test_tiles_make_their_rows_of_the_output_and_know_who_needs_them(path: Path, manifest: Manifest) -> None:
    whole = built(path, manifest, 1, 4, Tiling())
    image = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
    (expected,) = whole.run({manifest.inputs[0].name: image}).values()
    before = built(path, manifest, 0, 1, Tiling((), 4, ((0, 7), (7, 16))))
    assert before.session is None
    assert before.rows is not None
    for tiling, reader in zip((UPPER, LOWER), before.rows.readers, strict=True):
        tile = built(path, manifest, 1, 4, tiling)
        top, bottom = reader.tensors[0].rows or (0, 0)
        (made,) = tile.run({manifest.inputs[0].name: image[:, :, top:bottom]}).values()
        np.testing.assert_allclose(made, expected[:, :, slice(*tiling.rows)], rtol=1e-5, atol=1e-6)
        assert tile.rows is not None
        assert [each.tensors[0].rows for each in tile.rows.readers] == [(0, 7), (5, 16)]
        # The second block is pooling; the last one needs a halo of two rows.
        (_, of), (pooled, _), (last, _) = tile.computed_rows
        assert (of, pooled, last) == (32, 9 if tiling is UPPER else 11, tiling.rows[1] - tiling.rows[0])


def test_what_a_segment_passes_on_is_known_without_loading_it(path: Path, manifest: Manifest) -> None:
    key = SegmentKey(manifest.model, 1, 4, tiling=UPPER)
    assert rows_of(path, manifest, key) == built(path, manifest, 1, 4, UPPER).rows
    assert rows_of(path, manifest, SegmentKey(manifest.model, 1, 4)) is None


@pytest.mark.parametrize(
    ("start", "stop", "tiling", "reason"),
    [
        (1, 4, Tiling((7, 17)), "has 16"),
        (1, 4, Tiling((), 6, ((0, 3), (3, 9))), "has 8"),
        (0, 4, Tiling((0, 7)), "block 0 reads the bytes of a request"),
        (4, 7, Tiling((0, 1)), "pool3"),
    ],
)
def test_tiles_that_cannot_run_are_rejected_with_the_reason(
    path: Path, manifest: Manifest, start: int, stop: int, tiling: Tiling, reason: str
) -> None:
    with pytest.raises(CannotPrepare, match=reason) as rejected:
        built(path, manifest, start, stop, tiling)
    assert rejected.value.cause is RejectionCause.ERROR


def test_a_tile_needs_all_parameters_and_its_share_of_the_activations(manifest: Manifest) -> None:
    whole = need_of(manifest, SegmentKey(manifest.model, 1, 4))
    tile = need_of(manifest, SegmentKey(manifest.model, 1, 4, tiling=Tiling((0, 4))))
    assert tile.parameter_bytes == whole.parameter_bytes
    assert tile.activation_bytes == whole.activation_bytes // 4


def test_a_shortcut_around_a_tile_passes_through_it(tmp_path: Path) -> None:
    b = GraphBuilder("shortcut", 1, (1, 3, 16, 16))
    x = b.relu(b.conv(b.input, "first", 4, 3, padding=1))
    y = b.relu(b.conv(b.relu(b.conv(x, "second", 4, 5, padding=2)), "third", 4, 3, padding=1))
    path = tmp_path / "shortcut.onnx"
    write_onnx(b.finish(b.flatten(b.relu(b.add(b.relu(b.conv(y, "fourth", 4, 3, padding=1)), x, "sum")))), path)
    manifest = build_manifest(path, model=load_model(path, max_cut_tensors=2))
    model = open_model(path, manifest)
    crossing = [model.partition.boundary(block) for block in range(len(manifest.blocks))]
    shared = {name for before, after in pairwise(crossing) for name in before if name in after}
    assert shared, "the cuts leave the shortcut whole"
    start = next(k for k, names in enumerate(crossing) if set(names) & shared) + 1
    stop = start + 1
    end = len(manifest.blocks)
    rows = ((0, 5), (5, 16))
    image = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    before = built(path, manifest, 1, start, Tiling((), stop, rows))
    assert before.rows is not None
    cut = before.run({manifest.inputs[0].name: image})
    made = []
    for own, reader in zip(rows, before.rows.readers, strict=True):
        tile = built(path, manifest, start, stop, Tiling(own))
        assert tile.rows is not None
        received = rows_for(cut, None, reader)
        assert set(received.arrays) == set(cut)
        made.append(rows_for(tile.run(received.arrays), tile.rows.made, tile.rows.readers[0]).arrays)
    gathered = {name: np.concatenate([part[name] for part in made], axis=2) for name in made[0]}
    (result,) = built(path, manifest, stop, end, Tiling()).run(gathered).values()
    (expected,) = built(path, manifest, 1, end, Tiling()).run({manifest.inputs[0].name: image}).values()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
