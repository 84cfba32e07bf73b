"""Sizes of probes, by what is known of a link."""

import pytest

from services.monitor.probe_budget import ProbeBudget
from services.monitor.probe_settings import ProbeSettings
from services.monitor.probed_peer import OutstandingProbe, ProbedPeer, RoundTrip
from shared.link_time import transmission_ms
from shared.messages.devices import TransferObservation

SETTINGS = ProbeSettings()


def peer(bandwidth_mbps: float | None = None, latency_ms: float = 1.0) -> ProbedPeer:
    made = ProbedPeer(SETTINGS, ProbeBudget(SETTINGS.share, SETTINGS.day_bytes), "server")
    for _ in range(4):
        made.link.add_round_trip(2 * latency_ms)
        if bandwidth_mbps is not None:
            made.link.add_probe(256 * 1024, 2 * latency_ms + transmission_ms(256 * 1024, bandwidth_mbps))
    return made


@pytest.mark.parametrize(
    ("bandwidth_mbps", "latency_ms", "size_bytes"),
    [
        (None, 1.0, 16 * 1024),
        (0.1, 1.0, 2 * 1024),
        (20.0, 1.0, 50_000),
        (20.0, 40.0, 100_000),
        (900.0, 1.0, 128 * 1024),
    ],
)
def test_a_probe_takes_the_target_time_within_its_bounds(
    bandwidth_mbps: float | None, latency_ms: float, size_bytes: int
) -> None:
    assert peer(bandwidth_mbps, latency_ms).padding_bytes() == pytest.approx(size_bytes, rel=0.01)


def test_a_new_link_that_looks_fast_gets_larger_probes_up_to_the_bound() -> None:
    made, size_bytes, sizes = peer(), SETTINGS.first_bytes, []
    while size_bytes:
        sizes.append(size_bytes)
        larger = made.larger_bytes(size_bytes, RoundTrip(2.0 + transmission_ms(size_bytes, 5_000.0)))
        size_bytes = larger if larger > size_bytes else 0
    assert sizes[-1] == SETTINGS.proof_bytes
    assert len(sizes) <= 4


def test_a_slow_link_gets_no_larger_probe() -> None:
    assert peer().larger_bytes(16 * 1024, RoundTrip(2.0 + transmission_ms(16 * 1024, 1.0))) <= 16 * 1024


def test_a_link_of_long_delay_is_not_measured_by_what_the_delay_hides() -> None:
    made = peer(latency_ms=100.0)
    assert made.larger_bytes(16 * 1024, RoundTrip(200.0 + transmission_ms(16 * 1024, 50.0))) > 4 * 16 * 1024


def test_transfers_of_some_size_make_padded_probes_unnecessary() -> None:
    made = peer(20.0)
    small, large = (
        TransferObservation(device="a", target="b", size_bytes=size, elapsed_ms=1.0 + transmission_ms(size, 20.0))
        for size in (500, 60_000)
    )
    made.observed(small, 1.0)
    assert not made.is_busy(1.1)
    made.observed(large, 2.0)
    assert made.is_busy(2.1)
    assert not made.is_busy(2.1 + SETTINGS.idle_s)


def test_deadlines_of_an_outstanding_probe() -> None:
    made = peer(20.0)
    assert made.deadline_s() == 0.0
    made.outstanding = OutstandingProbe(sent_s=5.0)
    assert made.deadline_s() == 5.0 + SETTINGS.timeout_s
    made.outstanding = OutstandingProbe(padding_bytes=50_000, sent_s=5.0)
    assert made.deadline_s() == pytest.approx(5.0 + (3 * 20.0 + 2.0 + 50.0) / 1000)
    made.outstanding.is_overdue = True
    assert made.deadline_s() == 5.0 + 4 * SETTINGS.timeout_s
