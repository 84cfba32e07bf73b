from hypothesis import given
from hypothesis import strategies as st

from planning.problem.plan import Stage, Tile
from planning.search.volume_routes import Volume, counted_rows, equal_rows, proportional_rows, volume_route
from tests.support.spatial_problems import group_of, meshed, row_chain


@given(st.integers(1, 300), st.lists(st.floats(0, 1), min_size=1, max_size=16).filter(lambda shares: sum(shares) > 0))
def test_ranges_make_every_row_once(height: int, weights: list[float]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    for ranges in (proportional_rows(height, shares), equal_rows(height, len(shares))):
        assert len(ranges) == len(shares)
        assert [row for top, bottom in ranges for row in range(top, bottom)] == list(range(height))


def test_ranges_by_hand() -> None:
    assert proportional_rows(7, [0.25, 0.5, 0.25]) == [(0, 2), (2, 5), (5, 7)]
    assert equal_rows(14, 4) == [(0, 4), (4, 8), (8, 12), (12, 14)]
    assert equal_rows(2, 3) == [(0, 1), (1, 2), (2, 2)]
    assert counted_rows([2, 0, 3]) == [(0, 2), (2, 2), (2, 5)]


def test_a_route_fills_the_gaps_between_volumes() -> None:
    layers = [(1, 1, 0, 8)] * 5
    group = group_of(meshed(row_chain(layers, input_rows=8), [3.0, 1.0, 1.0], [10] * 3))
    volumes = (Volume(1, 2, ((0, 4), (4, 6), (6, 8))), Volume(3, 4, ((0, 0), (0, 4), (4, 8))))
    parts = (Tile("d0", (0, 4)), Tile("d1", (4, 6)), Tile("d2", (6, 8)))
    # Before the first volume the gateway computes, behind one the provider with the most rows, the faster of equals.
    assert volume_route(group, volumes).stages == (
        Stage(0, 1, (Tile("d1"),)),
        Stage(1, 2, parts),
        Stage(2, 3, (Tile("d0"),)),
        Stage(3, 4, (Tile("d1", (0, 4)), Tile("d2", (4, 8)))),
        Stage(4, 5, (Tile("d1"),)),
    )
    on_hub = volume_route(group, volumes, "d2")
    assert [stage.device for stage in on_hub.stages if not stage.tiled] == ["d2"] * 3


def test_neighbouring_stages_on_one_device_are_one() -> None:
    group = group_of(meshed(row_chain([(1, 1, 0, 8)] * 4, input_rows=8), [1.0, 3.0], [10] * 2))
    alone = ((0, 8), (8, 8))
    assert volume_route(group, (Volume(1, 2, alone), Volume(2, 3, alone))).stages == (Stage(0, 4, (Tile("d0"),)),)
