"""Transfers pass an emulated link one after the other, at the rate that the link has at the time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.feature_maps.link_schedule import LinkRate, LinkSchedule

MB = 1_000_000


def test_a_transfer_takes_latency_plus_bits_over_bandwidth() -> None:
    schedule = LinkSchedule(LinkRate(bandwidth_mbps=18.88, latency_ms=2.0))
    assert schedule.book(10.0, 602_112).deliver_at_s == pytest.approx(
        10.0 + (2.0 + 8 * 602_112 / (1000 * 18.88)) / 1000
    )


def test_transfers_go_one_after_the_other() -> None:
    schedule = LinkSchedule(LinkRate(8.0, 10.0))
    assert schedule.book(0.0, MB).deliver_at_s == pytest.approx(1.01)
    assert schedule.book(0.5, MB).deliver_at_s == pytest.approx(2.02)
    assert schedule.book(5.0, MB).deliver_at_s == pytest.approx(6.01)


def test_a_change_under_way_applies_to_what_is_left() -> None:
    schedule = LinkSchedule(LinkRate(8.0, 0.0))
    first, second = schedule.book(0.0, MB), schedule.book(0.0, MB)
    schedule.change(0.5, LinkRate(4.0, 0.0))
    assert first.deliver_at_s == pytest.approx(0.5 + 1.0)
    assert second.deliver_at_s == pytest.approx(1.5 + 2.0)
    assert first.passed_at_s(750_000) == pytest.approx(1.0)
    schedule.change(1.0, LinkRate(16.0, 0.0))
    assert first.deliver_at_s == pytest.approx(1.0 + 0.125)
    assert second.deliver_at_s == pytest.approx(1.125 + 0.5)


def test_the_latency_of_a_transfer_under_way_stays() -> None:
    schedule = LinkSchedule(LinkRate(8.0, 100.0))
    booking = schedule.book(0.0, MB)
    schedule.change(0.04, LinkRate(16.0, 500.0))
    assert booking.deliver_at_s == pytest.approx(0.1 + 0.5)


def test_a_link_that_is_down_holds_everything_until_it_is_up() -> None:
    schedule = LinkSchedule(LinkRate(8.0, 0.0))
    first, second = schedule.book(0.0, MB), schedule.book(0.0, MB)
    schedule.change(0.25, LinkRate(0.0, 0.0))
    assert first.deliver_at_s == second.deliver_at_s == math.inf
    assert schedule.book(1.0, 1).deliver_at_s == math.inf
    schedule.change(10.0, LinkRate(8.0, 0.0))
    assert first.deliver_at_s == pytest.approx(10.75)
    assert second.deliver_at_s == pytest.approx(11.75)


def test_a_transfer_that_is_given_up_lets_the_next_move_forward() -> None:
    schedule = LinkSchedule(LinkRate(8.0, 0.0))
    first, second = schedule.book(0.0, MB), schedule.book(0.0, MB)
    schedule.cancel(0.5, first)
    assert second.deliver_at_s == pytest.approx(1.5)
    schedule.cancel(0.6, first)
    assert second.deliver_at_s == pytest.approx(1.5)


def test_a_transfer_given_up_on_a_dead_link_lets_the_next_begin_when_it_is_up() -> None:
    schedule = LinkSchedule(LinkRate(0.0, 0.0))
    first, second = schedule.book(0.0, MB), schedule.book(0.0, MB)
    schedule.cancel(1.0, first)
    schedule.change(2.0, LinkRate(8.0, 0.0))
    assert second.deliver_at_s == pytest.approx(3.0)


def test_a_link_without_limit_costs_only_its_latency() -> None:
    assert LinkSchedule(LinkRate(math.inf, 3.0)).book(1.0, MB).deliver_at_s == pytest.approx(1.003)


@pytest.mark.parametrize("rate", [(-1.0, 0.0), (math.nan, 0.0), (1.0, -1.0), (1.0, math.inf)])
def test_an_impossible_rate_is_refused(rate: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        LinkRate(*rate)


@given(
    st.lists(st.integers(1, 5 * MB), min_size=1, max_size=5),
    st.lists(st.tuples(st.floats(0.001, 1.0), st.floats(0.5, 100.0)), max_size=5),
)
def test_every_byte_is_paid_for_whatever_the_rates(sizes: list[int], changes: list[tuple[float, float]]) -> None:
    schedule = LinkSchedule(LinkRate(10.0, 0.0))
    bookings = [schedule.book(0.0, size_bytes) for size_bytes in sizes]
    now_s, rate, bits_possible = 0.0, 10.0, 0.0
    for pause_s, bandwidth_mbps in changes:
        if now_s + pause_s >= bookings[-1].deliver_at_s:
            break
        bits_possible += pause_s * rate * 1e6
        now_s, rate = now_s + pause_s, bandwidth_mbps
        schedule.change(now_s, LinkRate(rate, 0.0))
    bits_possible += (bookings[-1].deliver_at_s - now_s) * rate * 1e6
    assert bits_possible == pytest.approx(8 * sum(sizes), rel=1e-6)
    times = [booking.deliver_at_s for booking in bookings]
    assert times == sorted(times)
