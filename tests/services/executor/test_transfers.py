import pytest

from services.executor.transfers import TransferLedger
from shared.messages.devices import LinkEstimate, TransferObservation
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage
from shared.transport_mode import Carrier

MQTT, DIRECT = Carrier.MQTT, Carrier.DIRECT


def feature_map_header(name: str) -> FeatureMapHeader:
    return FeatureMapHeader(
        transfer_id=name,
        sender="me",
        request_id=name.replace(" ", "-"),
        stream="s",
        model="0" * 64,
        epoch=1,
        attempt=1,
        stages=(PlanStage(start=0, stop=1, device="other"),),
        stage=0,
        tensors=(),
        source="me",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )


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
    ledger.sent("t1", 9.98)
    ledger.sent("unknown", 1.0)
    observation = ledger.received("t1", "server", now_s=10.05)
    assert observation is not None
    assert observation.elapsed_ms == pytest.approx(70.0)
    ledger.sent("t1", 1.0)


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


def test_a_direct_link_that_is_no_longer_estimated_is_unknown(ledger: TransferLedger) -> None:
    brokered = LinkEstimate(target="other", bandwidth_mbps=8.0, latency_ms=0.0)
    ledger.learn([brokered, brokered.model_copy(update={"bandwidth_mbps": 80.0, "transport": DIRECT})])
    assert ledger.expected_ms("other", 1_000_000) == pytest.approx(1000.0)
    assert ledger.expected_ms("other", 1_000_000, DIRECT) == pytest.approx(100.0)
    ledger.learn([])
    assert ledger.expected_ms("other", 1_000_000) == pytest.approx(1000.0)
    assert ledger.expected_ms("other", 1_000_000, DIRECT) is None


def test_a_lost_connection_takes_what_was_sent_on_it(ledger: TransferLedger) -> None:
    headers = [feature_map_header(name) for name in ("sent", "sending", "brokered", "elsewhere", "fell back")]
    for header, carrier in zip(headers, (DIRECT, DIRECT, MQTT, DIRECT, DIRECT), strict=True):
        target = "elsewhere" if header.request_id == "elsewhere" else "other"
        ledger.started(header.transfer_id, target, 10, 0.0, carrier, header)
    for name, carrier in (("sent", DIRECT), ("brokered", MQTT), ("elsewhere", DIRECT), ("fell back", MQTT)):
        ledger.sent(name, 0.0, carrier)
    assert ledger.lost("other") == headers[:1]
    assert ledger.lost("other") == []
    assert len(ledger) == 4


def test_an_observation_names_what_carried_the_transfer(ledger: TransferLedger) -> None:
    ledger.started("t", "other", 10, 0.0, DIRECT)
    ledger.started("u", "other", 10, 0.0, DIRECT)
    ledger.sent("u", 0.0, MQTT)
    observations = [ledger.received(transfer_id, "other", 1.0) for transfer_id in ("t", "u")]
    assert [observation and observation.transport for observation in observations] == [DIRECT, MQTT]
