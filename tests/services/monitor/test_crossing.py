"""What a transfer proves: processing at an end is load, and a small fast one may be the burst of a token bucket."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.crossing import Crossing, confirmations, judge
from services.monitor.resetting_median import Deviation
from shared.link_time import CONFIRMATIONS, WEAK_CONFIRMATIONS, transfer_ms


def crossing(size_bytes: int, elapsed_ms: float, processing_ms: float = 0.0) -> Crossing:
    return Crossing(size_bytes, elapsed_ms, 1, 2.0, math.inf, processing_ms)


@given(
    size_bytes=st.integers(1, 10**8),
    elapsed_ms=st.floats(0.01, 1e6),
    share=st.floats(0, 1),
    latency_ms=st.floats(0, 1e4) | st.none(),
)
def test_the_rate_lies_between_both_bounds(
    size_bytes: int, elapsed_ms: float, share: float, latency_ms: float | None
) -> None:
    made = crossing(size_bytes, elapsed_ms, share * elapsed_ms)
    least, most = made.rates_mbps(latency_ms)
    assert 0 < least <= most
    assert least * (1 - 1e-9) <= made.rate_mbps(latency_ms) <= most * (1 + 1e-9)
    assert 0 < made.weight() <= size_bytes


@given(mbps=st.floats(1, 500), size_bytes=st.integers(1_000, 10**7), delay_ms=st.floats(0, 5_000))
def test_a_delay_that_an_end_has_measured_is_never_a_slower_link(mbps: float, size_bytes: int, delay_ms: float) -> None:
    delayed = crossing(size_bytes, transfer_ms(size_bytes, 2.0, mbps) + delay_ms, delay_ms)
    assert judge(delayed, mbps, 2.0, 1.5).deviation is not Deviation.BELOW


def test_a_transfer_that_is_slow_beyond_its_processing_is_a_slower_link() -> None:
    slow = crossing(60_000, transfer_ms(60_000, 2.0, 2.0), 100.0)
    assert judge(slow, 20.0, 2.0, 1.5).deviation is Deviation.BELOW


def test_a_transfer_that_would_also_fit_a_much_slower_link_says_nothing() -> None:
    verdict = judge(crossing(60_000, transfer_ms(60_000, 2.0, 20.0) + 100.0, 100.0), 20.0, 2.0, 1.5)
    assert verdict.deviation is Deviation.NONE
    assert not verdict.is_telling


@pytest.mark.parametrize(
    ("size_bytes", "rate_mbps", "earlier", "needed"),
    [
        pytest.param(60_000, 2.0, (), CONFIRMATIONS, id="slower, 24 ms expected"),
        pytest.param(2_000, 0.1, (), WEAK_CONFIRMATIONS, id="slower, less than 1 ms expected"),
        pytest.param(60_000, 36.0, (), CONFIRMATIONS, id="a little faster"),
        pytest.param(12_000, 500.0, (12_000,), WEAK_CONFIRMATIONS, id="much faster, as large as before"),
        pytest.param(48_000, 500.0, (12_000,), CONFIRMATIONS, id="much faster, and larger"),
    ],
)
def test_confirmations(size_bytes: int, rate_mbps: float, earlier: tuple[int, ...], needed: int) -> None:
    newest = crossing(size_bytes, transfer_ms(size_bytes, 2.0, rate_mbps))
    deviation = Deviation.ABOVE if rate_mbps > 20.0 else Deviation.BELOW
    waiting = [crossing(size, transfer_ms(size, 2.0, rate_mbps)) for size in earlier]
    assert confirmations(newest, deviation, waiting, 20.0, 2.0) == needed
