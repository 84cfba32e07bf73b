import pytest

from services.executor.transfers import TransferLedger
from shared.messages.devices import LinkEstimate, TransferObservation


@pytest.fixture
def ledger() -> TransferLedger:
    return TransferLedger("me")


def test_a_receipt_makes_an_observation_once(ledger: TransferLedger) -> None:
    ledger.started("t", "other", 1000, 10.0)
    expected = TransferObservation(device="me", target="other", size_bytes=1000, elapsed_ms=250.0)
    assert ledger.received("t", "other", 10.25) == expected
    assert ledger.received("t", "other", 10.3) is None


def test_a_transfer_is_measured_from_when_its_first_byte_really_went_out(ledger: TransferLedger) -> None:
    ledger.started("t1", "server", 1000, now_s=10.0)
    ledger.began("t1", 9.98)
    ledger.began("unknown", 1.0)
    observation = ledger.received("t1", "server", now_s=10.05)
    assert observation is not None
    assert observation.elapsed_ms == pytest.approx(70.0)
    ledger.began("t1", 1.0)


def test_a_receipt_from_somebody_else_counts_for_nothing(ledger: TransferLedger) -> None:
    ledger.started("t", "other", 1000, 10.0)
    assert ledger.received("t", "stranger", 10.1) is None
    assert ledger.received("t", "other", 10.2) is not None


def test_a_transfer_is_overdue_once_at_three_times_what_the_link_should_take(ledger: TransferLedger) -> None:
    ledger.learn([LinkEstimate(target="other", bandwidth_mbps=8.0, latency_ms=100.0)])
    assert ledger.expected_ms("other", 1_000_000) == pytest.approx(1100.0)
    ledger.started("t", "other", 1_000_000, 0.0)
    assert ledger.overdue(3.3) == []
    (observation,) = ledger.overdue(3.4)
    assert not observation.finished
    assert observation.elapsed_ms == pytest.approx(3400.0)
    assert ledger.overdue(10.0) == []
    late = ledger.received("t", "other", 20.0)
    assert late is not None
    assert late.finished


def test_without_an_estimate_its_own_transfers_teach_it(ledger: TransferLedger) -> None:
    assert ledger.expected_ms("other", 1000) is None
    ledger.started("t", "other", 1000, 0.0)
    ledger.received("t", "other", 0.5)
    assert ledger.expected_ms("other", 2000) == pytest.approx(1000.0)
    assert ledger.overdue_after_ms("other", 2000) == pytest.approx(3000.0)


def test_small_transfers_are_not_overdue_at_once(ledger: TransferLedger) -> None:
    ledger.learn([LinkEstimate(target="other", bandwidth_mbps=1000.0, latency_ms=0.0)])
    assert ledger.overdue_after_ms("other", 100) == 250.0


def test_what_could_not_be_sent_is_not_overdue(ledger: TransferLedger) -> None:
    ledger.started("t", "other", 1000, 0.0)
    ledger.abandoned("t")
    assert ledger.overdue(100.0) == []
    assert len(ledger) == 0


def test_the_ledger_is_bounded(ledger: TransferLedger) -> None:
    for number in range(2000):
        ledger.started(str(number), "other", 1, 0.0)
    assert len(ledger) == 1024
