"""Stretches of blocks that can be tiled, and the cuts around them."""

from shared.model.architectures import build
from shared.model.onnx_file import load_model, to_bytes
from shared.model.tiles.stretches import cuts_for_tiles, tileable_stretches


def test_stretches_and_cuts() -> None:
    blocks = load_model(to_bytes(build("tiny"))).analysis.blocks
    assert tileable_stretches(blocks, 0, 7) == ((0, 5),)
    assert tileable_stretches(blocks, 3, 7) == ((3, 5),)
    assert tileable_stretches(blocks, 5, 7) == ()
    assert cuts_for_tiles(blocks, [(0, 2), (2, 7)], 1) == (2, 5)
    assert cuts_for_tiles(blocks, [(0, 7)], 0) == (5,)
    assert cuts_for_tiles(blocks, [(0, 5), (5, 7)], 1) == ()
