import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.segments.idle_profile import IdleProfile, MeasuredGroup, is_enough, make_profile
from shared.messages.devices import REFUSED_MS, BlockRefusal

MS = st.floats(0.001, 1000, allow_nan=False)


def test_the_overhead_of_single_blocks_is_taken_out() -> None:
    profile = make_profile(4, 3.0, [MeasuredGroup(1, (2.5, 4.5, 1.5), 6.5)])
    assert profile.segment_overhead_ms == pytest.approx(1.0)
    assert profile.block_ms == pytest.approx((3.0, 1.5, 3.5, 0.5))
    assert profile.segment_ms(1, 4) == pytest.approx(6.5)
    assert profile.segment_ms(0, 1) == pytest.approx(4.0)


def test_a_whole_that_is_slower_than_its_parts_has_no_overhead() -> None:
    profile = make_profile(3, 0.0, [MeasuredGroup(1, (1.0, 1.0), 4.0)])
    assert profile.segment_overhead_ms == 0.0
    assert profile.block_ms == pytest.approx((0.0, 2.0, 2.0))


def test_one_block_is_the_whole() -> None:
    assert make_profile(2, 1.0, [MeasuredGroup(1, (5.0,), 6.0)]) == IdleProfile((1.0, 6.0), 0.0)


def test_a_tile_takes_the_share_of_its_rows_and_the_overhead_once() -> None:
    profile = IdleProfile((1.0, 8.0, 20.0), 0.5, row_ms={1: ((7, 4.0),)})
    assert profile.tile_ms(1, [(7, 28), (7, 28)]) == pytest.approx(4.0 + 5.0 + 0.5)
    assert profile.tile_ms(1, [(28, 28), (28, 28)]) == pytest.approx(profile.segment_ms(1, 3))
    assert profile.scaled(2.0).row_ms == {1: ((7, 8.0),)}
    assert profile.scaled(2.0).tile_ms(1, [(7, 28)]) == pytest.approx(9.0)


def test_scaling() -> None:
    assert IdleProfile((1.0, 2.0), 0.5).scaled(4.0) == IdleProfile((4.0, 8.0), 2.0)


@pytest.mark.parametrize("times", [((), 1.0), ((-1.0,), 1.0), ((1.0,), -1.0)])
def test_impossible_times_are_refused(times: tuple[tuple[float, ...], float]) -> None:
    with pytest.raises(ValueError, match="at least one block, and no time is negative"):
        MeasuredGroup(1, *times)
    with pytest.raises(ValueError, match="no time is negative"):
        make_profile(1, -1.0, [])


def test_groups_share_one_overhead_and_add_up_to_their_wholes() -> None:
    groups = [MeasuredGroup(1, (2.5, 4.5), 6.0), MeasuredGroup(4, (1.5, 3.5), 4.0)]
    refusals = (BlockRefusal(start=3, stop=4, reason="it is too large"),)
    profile = make_profile(6, 0.5, groups, refusals)
    assert profile.segment_overhead_ms == pytest.approx(1.0)
    assert profile.block_ms == pytest.approx((0.5, 1.5, 3.5, REFUSED_MS, 0.5, 2.5))
    assert profile.scaled(2.0).block_ms == pytest.approx((1.0, 3.0, 7.0, REFUSED_MS, 1.0, 5.0))
    assert profile.scaled(2.0).refusals == refusals


@given(MS, st.lists(MS, min_size=1, max_size=20), MS)
def test_blocks_and_overhead_add_up_to_the_whole(prepare_ms: float, block_ms: list[float], whole_ms: float) -> None:
    profile = make_profile(len(block_ms) + 1, prepare_ms, [MeasuredGroup(1, tuple(block_ms), whole_ms)])
    assert min(profile.block_ms) >= 0
    assert profile.segment_overhead_ms >= 0
    if sum(profile.block_ms[1:]) > 0:
        assert profile.segment_ms(1, len(profile.block_ms)) == pytest.approx(whole_ms)


def test_how_often_a_block_is_run() -> None:
    assert not is_enough([10.0] * 4)
    assert is_enough([10.0] * 5)
    assert not is_enough([0.1] * 24)
    assert is_enough([0.1] * 25)
    assert not is_enough([900.0] * 2)
    assert is_enough([900.0] * 3)
