"""Rows that nodes need, against the definition row by row."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model.graph import Node
from shared.model.tiles.row_relations import EnlargedRows, PaddedRows, PadMode, SpreadRows, WindowRows

NODE = Node("n", "Conv", ("x",), ("y",), {"auto_pad": "SAME_UPPER"})


@settings(max_examples=100)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 5), st.integers(6, 20), st.data())
def test_windows_need_the_rows_under_them(
    extent: int, stride: int, above: int, height: int, data: st.DataObject
) -> None:
    relation = WindowRows(extent, stride, above, 0, (above, 0), 0)
    top = data.draw(st.integers(0, (height - 1 + above) // stride))
    bottom = data.draw(st.integers(top + 1, top + 4))
    made, needed = relation.made((top, bottom), height), relation.needed((top, bottom), height)
    under = {row * stride - above + tap for row in range(*made) for tap in range(extent)}
    assert made[0] <= top
    assert made[1] >= bottom
    assert set(range(*needed)) >= under & set(range(height))
    pads = relation.rewrite(NODE, (top, bottom), height).node.attributes["pads"]
    assert isinstance(pads, tuple)
    # The node of the tile makes exactly the rows that are made.
    assert (needed[1] - needed[0] + int(pads[0]) + int(pads[1]) - extent) // stride + 1 == made[1] - made[0]


@settings(max_examples=100)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.data())
def test_transposed_convolutions_need_the_rows_that_add(
    extent: int, stride: int, above: int, data: st.DataObject
) -> None:
    height = 8
    relation = SpreadRows(extent, stride, above, (above, 0), (0,))
    most = (height - 1) * stride + extent - above
    top = data.draw(st.integers(0, max(most - 1, 0)))
    bottom = data.draw(st.integers(top + 1, most + 1))
    adding = {row for row in range(height) for tap in range(extent) if top <= row * stride - above + tap < bottom}
    assert set(range(*relation.needed((top, bottom), height))) >= adding


def test_padding_that_is_cut_off() -> None:
    reflect = PaddedRows(3, PadMode.REFLECT, (3, 2), 0, None)
    assert reflect.needed((0, 1), 10) == (0, 4)
    assert reflect.needed((5, 9), 10) == (2, 6)
    assert reflect.needed((13, 15), 10) == (7, 10)
    assert reflect.rewrite(NODE, (1, 4), 10).node.attributes["pads"] == (2, 0)
    constant = PaddedRows(3, PadMode.CONSTANT, (3, 2), 0, None)
    assert constant.needed((0, 2), 10) == (0, 1)
    assert constant.made((0, 2), 10) == (0, 4)


def test_enlarged_rows_are_made_in_groups() -> None:
    relation = EnlargedRows(3, lambda row: (row // 3, row // 3 + 1))
    assert relation.needed((4, 8), 5) == (1, 3)
    assert relation.made((4, 8), 5) == (3, 9)
