"""Probes never take more of a link than their budget, whoever asks how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.probe_budget import DAY_S, OVERHEAD_BYTES, ProbeBudget

SHARE, DAY_BYTES = 0.01, 50e6


def spent_bytes(budget: ProbeBudget, *, size_bytes: int, bandwidth_mbps: float, for_s: float, is_used: bool) -> float:
    """Return the bytes of one who sends as soon as the budget allows it."""
    now_s, sent_bytes = 0.0, 0.0
    while True:
        wait_s = budget.wait_s(size_bytes, now_s, bandwidth_mbps, is_used=is_used, is_routine=False)
        now_s += max(wait_s, 1e-3)
        if now_s >= for_s:
            return sent_bytes
        if wait_s <= 1e-9:
            budget.spend(size_bytes, now_s, bandwidth_mbps, is_used=is_used)
            sent_bytes += size_bytes + OVERHEAD_BYTES


@pytest.mark.parametrize("bandwidth_mbps", [0.5, 20.0, 1000.0])
@pytest.mark.parametrize("size_bytes", [20_000, 128 * 1024])
def test_a_link_that_no_stream_could_use_costs_at_most_its_bytes_of_a_day(
    bandwidth_mbps: float, size_bytes: int
) -> None:
    budget = ProbeBudget(SHARE, DAY_BYTES)
    sent = spent_bytes(budget, size_bytes=size_bytes, bandwidth_mbps=bandwidth_mbps, for_s=DAY_S, is_used=False)
    assert 0.5 * DAY_BYTES <= sent <= DAY_BYTES


@given(bandwidth_mbps=st.floats(0.1, 1000), size_bytes=st.integers(0, 200_000))
def test_a_link_in_use_gives_its_share_beside_one_burst(bandwidth_mbps: float, size_bytes: int) -> None:
    budget, for_s = ProbeBudget(SHARE, DAY_BYTES), 600.0
    sent = 0.0
    now_s = 0.0
    for _ in range(2000):
        now_s += budget.wait_s(size_bytes, now_s, bandwidth_mbps, is_used=True, is_routine=True)
        if now_s >= for_s:
            break
        budget.spend(size_bytes, now_s, bandwidth_mbps, is_used=True)
        sent += size_bytes + OVERHEAD_BYTES
    share_bytes = SHARE * bandwidth_mbps * 125_000 * now_s
    assert sent <= share_bytes + max(SHARE * bandwidth_mbps * 125_000 * 60, 64 * 1024) + size_bytes + OVERHEAD_BYTES


def test_a_settled_link_leaves_half_of_the_burst_for_doubts() -> None:
    budget = ProbeBudget(SHARE, DAY_BYTES)
    while budget.wait_s(50_000, 0.0, 20.0, is_used=True, is_routine=True) == 0:
        budget.spend(50_000, 0.0, 20.0, is_used=True)
    assert budget.wait_s(50_000, 0.0, 20.0, is_used=True, is_routine=False) == 0


def test_a_link_of_unknown_bandwidth_may_be_measured() -> None:
    budget = ProbeBudget(SHARE, DAY_BYTES)
    assert budget.wait_s(16_384, 0.0, None, is_used=False, is_routine=False) == 0


def test_a_link_that_sinks_keeps_its_budget_for_a_while() -> None:
    budget = ProbeBudget(SHARE, DAY_BYTES)
    while budget.wait_s(50_000, 0.0, 20.0, is_used=True, is_routine=True) == 0:
        budget.spend(50_000, 0.0, 20.0, is_used=True)
    # A tenth of the bandwidth: its own share would have to pay for half a minute what was spent before.
    assert budget.wait_s(50_000, 10.0, 2.0, is_used=True, is_routine=True) == 0
    # An hour later it has the share of a slow link.
    for _ in range(4):
        budget.spend(50_000, 3600.0, 2.0, is_used=True)
    assert budget.wait_s(50_000, 3600.0, 2.0, is_used=True, is_routine=True) > 30
