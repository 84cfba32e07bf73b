"""Ranges of rows against sets of indices, and the published formula that ignores borders."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.problem.problem import Block, Model, RowProfile
from planning.tiles.rows import UntileableError, input_range, output_rows, rows_at, segment_fault, tile_rows
from shared.model.onnx_file import load_model
from shared.model.segment_graph import segment_graph
from shared.model.tiles.tile_plan import plan_tile, segment_nodes
from shared.row_ranges import NOTHING, RowRange, convex_union
from tests.support.shared_paths import DEMO_DATA

VGG16 = [(3, 1, 1, rows) if layer != "p" else (2, 2, 0, rows) for layer, rows in zip(
    "ccpccpcccpcccpcccp",
    [224, 224, 112, 112, 112, 56, 56, 56, 56, 28, 28, 28, 28, 14, 14, 14, 14, 7],
    strict=True,
)]  # fmt: skip
"""Kernel, stride, padding and output rows of the convolutions and poolings (algorithms, section C.7)."""


def _chain(layers: list[tuple[int, int, int, int]], input_rows: int | None = None) -> Model:
    blocks = tuple(Block(f"b{i}", 1000, rows=RowProfile(rows, k, s, p)) for i, (k, s, p, rows) in enumerate(layers))
    return Model(1000, blocks, None, input_rows)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Model, RowRange]:
    """A chain of layers with consistent heights, floor or ceiling, and a range of rows of its output."""
    height = first = draw(st.integers(1, 40))
    layers = []
    for _ in range(draw(st.integers(1, 6))):
        kernel = draw(st.integers(1, 7))
        stride, padding = draw(st.integers(1, 3)), draw(st.integers(0, kernel - 1))
        span = height + 2 * padding - kernel
        rows = (span if draw(st.booleans()) else span + stride - 1) // stride + 1
        if rows > 1 and (rows - 1) * stride - padding >= height:
            rows -= 1  # The ceiling counts no window that starts below the input.
        if rows < 1:
            continue
        layers.append((kernel, stride, padding, rows))
        height = rows
    layers = layers or [(1, 1, 0, height)]
    top = draw(st.integers(0, height))
    return _chain(layers, first), (top, draw(st.integers(top, height)))


def _brute_force(model: Model, rows: set[int]) -> list[set[int]]:
    """Return the rows of every block, then of the input, that are needed, row by row from the definition."""
    found = [rows]
    for index in range(len(model.blocks) - 1, -1, -1):
        profile = model.blocks[index].rows
        assert profile is not None
        height = rows_at(model, index)
        seen = {
            row * profile.stride - profile.padding + offset for row in found[-1] for offset in range(profile.kernel)
        }
        found.append({row for row in seen if 0 <= row < height})
    return found


@given(chains())
def test_ranges_hold_exactly_what_every_row_sees(case: tuple[Model, RowRange]) -> None:
    model, rows = case
    tile = tile_rows(model, 0, len(model.blocks), rows)
    needed = _brute_force(model, set(range(*rows)))
    for found, expected in zip([tile.needed, *tile.computed], reversed(needed), strict=True):
        assert set(range(*found)) >= expected
        if expected:
            # A stride larger than the kernel leaves holes between rows; the ends are exact.
            assert found == (min(expected), max(expected) + 1)
        assert 0 <= found[0] <= found[1]
    if rows[0] == rows[1]:
        assert tile.needed == NOTHING
        assert set(tile.computed[:-1]) <= {NOTHING}


@given(chains(), st.integers(0, 40))
def test_tiles_together_compute_what_the_whole_does(case: tuple[Model, RowRange], at: int) -> None:
    model, _ = case
    height = output_rows(model, 0, len(model.blocks))
    middle = min(at, height)
    tiles = [tile_rows(model, 0, len(model.blocks), rows) for rows in ((0, middle), (middle, height))]
    whole = tile_rows(model, 0, len(model.blocks), (0, height))
    for index, rows in enumerate(whole.computed):
        assert convex_union(tiles[0].computed[index], tiles[1].computed[index]) == rows
    assert convex_union(tiles[0].needed, tiles[1].needed) == whole.needed


def test_the_printed_formula_needs_more_rows_than_there_are_and_ours_does_not() -> None:
    printed = 7
    for kernel, stride, _, _ in reversed(VGG16):
        printed = (printed - 1) * stride + kernel
    assert printed == 404
    tile = tile_rows(_chain(VGG16, 224), 0, 18, (0, 7))
    assert tile.needed == (0, 224)
    assert [bottom for _, bottom in tile.computed] == [rows for _, _, _, rows in VGG16]


def test_halo_of_a_quarter_of_vgg16() -> None:
    tile = tile_rows(_chain(VGG16, 224), 0, 3, (28, 56))
    assert tile.computed == ((55, 113), (56, 112), (28, 56))
    assert tile.needed == (54, 114)
    assert tile_rows(_chain(VGG16, 224), 0, 3, (0, 28)).needed == (0, 58)


def test_pooling_by_two_needs_exactly_twice_the_rows() -> None:
    pool = RowProfile(28, 2, 2)
    assert input_range((3, 9), pool, 56) == (6, 18)
    assert input_range((27, 28), pool, 56) == (54, 56)
    assert input_range((5, 5), pool, 56) == input_range((9, 5), pool, 56) == NOTHING


def test_rows_that_only_see_padding_need_nothing() -> None:
    assert input_range((0, 1), RowProfile(9, 1, 1, 3), 3) == NOTHING


def test_input_rows_given_made_or_implied() -> None:
    model = _chain(VGG16)
    assert rows_at(model, 0) == 224
    assert rows_at(replace(model, input_rows=300), 0) == 300
    assert rows_at(model, 3) == 112
    mixed = replace(model, blocks=(Block("prepare", 5000), *model.blocks[1:]))
    assert rows_at(mixed, 1) == 224
    assert rows_at(_chain([(11, 4, 2, 55)]), 0) == 223


def test_where_branches_meet_a_block_makes_what_every_reader_needs() -> None:
    """A residual block: x feeds a convolution of 3 and the sum."""
    names = {"x": RowProfile(20, 3, 1, 1), "wide": RowProfile(20, 5, 1, 2), "sum": RowProfile(20)}
    blocks = tuple(Block(name, 100, rows=rows) for name, rows in names.items())
    model = Model(100, blocks, ((0, 1, 100.0), (0, 2, 100.0), (1, 2, 100.0)), 20)
    tile = tile_rows(model, 0, 3, (8, 10))
    assert tile.computed == ((6, 12), (8, 10), (8, 10))
    assert tile.needed == (5, 13)


def test_what_cannot_be_tiled() -> None:
    model = _chain(VGG16)
    assert segment_fault(model, 0, 18) is None
    mixed = replace(model, blocks=(*model.blocks[:4], Block("fc", 5), *model.blocks[5:]))
    assert segment_fault(mixed, 3, 6) == "block 4 (fc) has no row data, so no tile can hold it"
    with pytest.raises(UntileableError, match="fc"):
        tile_rows(mixed, 3, 6, (0, 1))
    with pytest.raises(UntileableError, match="fc"):
        output_rows(mixed, 3, 6)
    branching = Model(100, model.blocks[:3], ((0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0)))
    assert segment_fault(branching, 0, 3) is None
    assert "crosses cut 2" in str(segment_fault(branching, 0, 2))


def test_tiles_end_where_the_model_allows_it() -> None:
    rows = RowProfile(8)
    blocks = tuple(Block(name, 100, rows=rows, ends_tiles=name != "b") for name in "abc")
    model = Model(100, blocks)
    assert segment_fault(model, 0, 3) is segment_fault(model, 0, 1) is None
    assert segment_fault(model, 0, 2) == segment_fault(model, 2, 3)
    assert "behind block 1 (b)" in str(segment_fault(model, 0, 2))


def test_blocks_that_make_images_higher_count_shares_of_rows() -> None:
    doubled = RowProfile(16, kernel=3, stride=1, padding=1, upsampling=2)
    assert [input_range((row, row + 1), doubled, 8) for row in (0, 1, 2, 15)] == [(0, 1), (0, 2), (0, 2), (7, 8)]
    assert input_range((4, 8), doubled, 8) == (1, 5)
    assert rows_at(Model(1000, (Block("up", 1000, rows=doubled),)), 0) == 8


def test_rows_of_a_model_contain_those_of_its_tiles() -> None:
    model = load_model(DEMO_DATA / "squeezenet1.1.onnx")
    analysed = [block for block in model.analysis.blocks if block.rows is not None]
    profiles = [RowProfile(**asdict(block.rows)) for block in analysed if block.rows is not None]
    planned = Model(1000, tuple(Block(str(index), 1000, rows=rows) for index, rows in enumerate(profiles)), None, 227)
    for start, stop, rows in ((0, 4, (9, 20)), (2, 12, (0, 5)), (3, 21, (10, 13))):
        (exact,) = plan_tile(segment_nodes(segment_graph(model, start, stop)), rows).inputs.values()
        # Planning counts at most one row too many, at a border that rounding leaves unused.
        top, bottom = tile_rows(planned, start, stop, rows).needed
        assert exact is not None
        assert top <= exact[0] <= top + 1
        assert exact[1] <= bottom <= exact[1] + 1
