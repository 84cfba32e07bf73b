"""A chain with tiles is compared with the whole model, and its tiles with their segments."""

from dataclasses import replace

from shared.model.architectures import build
from shared.model.onnx_file import Verifier, extract_segment, load_model, to_bytes
from shared.model.onnx_file.tile_verification import TileErrors, verify_tiles
from shared.model.onnx_file.tiled_segment import tile_segment
from shared.model.segment_graph import segment_graph
from shared.model.tensor import DType


def test_right_and_wrong_tiles() -> None:
    whole = to_bytes(build("tiny"))
    model = load_model(whole)
    verifier = Verifier(whole, model.analysis.input)
    segments = [extract_segment(model, 0, 4), extract_segment(model, 4, 7)]
    tiled = tile_segment(segment_graph(model, 0, 4), ((0, 3), (3, 16)))
    report = verify_tiles(verifier, segments, {0: tiled})
    assert report.segments[0].agrees(model.computed_types)
    assert report.chain.agrees(model.computed_types)
    # The first tile's weights make what the second one should.
    first, second = tiled.tiles
    other = tile_segment(segment_graph(load_model(to_bytes(build("tiny", seed=5))), 0, 4), ((0, 3), (3, 16)))
    wrong = replace(tiled, tiles=(first, replace(second, data=other.tiles[1].data)))
    assert not verify_tiles(verifier, segments, {0: wrong}).segments[0].agrees(model.computed_types)


def test_errors_within_those_of_the_runtime_s_own_optimisations_are_rounding() -> None:
    errors = TileErrors(
        1.0, 3e-5, bit_exact=False, bit_exact_extended=False, unoptimised_rel_error=2e-5, runtime_rel_error=1e-4
    )
    assert errors.agrees([DType.FLOAT32])
    assert not replace(errors, runtime_rel_error=1e-6).agrees([DType.FLOAT32])
    assert replace(errors, max_rel_error=9e-6, unoptimised_rel_error=1e-6, runtime_rel_error=0.0).agrees(
        [DType.FLOAT32]
    )
