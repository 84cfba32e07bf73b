import pytest

from planning.strategies.spatial.aofl import AOFL, VARIANTS, linear_ratio
from tests.support.spatial_problems import group_of, meshed, row_chain

MODEL = row_chain([(3, 1, 1, 8), (3, 1, 1, 8)], input_rows=8)


def test_all_providers_end_at_once_by_the_linear_models() -> None:
    # The input of 8,000 bytes takes 64 ms at 1 Mbps and 6.4 ms at 10 Mbps: all rows take 84 and 26.4 ms.
    group = group_of(meshed(MODEL, [20.0, 20.0], [1, 10]))
    first, second = linear_ratio(group)
    assert first == pytest.approx(26.4 / 110.4)
    assert first * 84 == pytest.approx(second * 26.4)


def test_the_capability_variant_leaves_out_the_links() -> None:
    group = group_of(meshed(MODEL, [20.0, 20.0], [1, 10]))
    (variant,) = VARIANTS
    assert variant.route(group).stages[0].tiles[0].rows == (0, 4)
    # 8 rows x 26.4 / 110.4 is 1.9.
    assert AOFL.route(group).stages[0].tiles[0].rows == (0, 2)
