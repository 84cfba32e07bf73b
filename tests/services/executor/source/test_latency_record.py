from services.executor.source.latency_record import LatencyRecord
from shared.messages.requests import StageTrace
from shared.messages.streams import MAX_LATENCIES


def stage(device: str, queue_ms: float, compute_ms: float) -> StageTrace:
    return StageTrace(device=device, start=0, stop=1, received_at_s=0.0, queue_ms=queue_ms, compute_ms=compute_ms)


def test_a_report_has_the_latencies_since_the_last_one_and_the_median_time_of_each_device() -> None:
    record = LatencyRecord()
    assert record.take() is None
    for number in range(3):
        record.add(4, 30.0 + number, (stage("pi", 1.0, 2.0), stage("server", number, 10.0), stage("server", 0.0, 5.0)))
    report = record.take()
    assert report is not None
    assert (report.epoch, report.latencies_ms) == (4, (30.0, 31.0, 32.0))
    assert {each.device: each.took_ms for each in report.devices} == {"pi": 3.0, "server": 16.0}
    assert record.take() is None


def test_another_epoch_begins_a_new_report() -> None:
    record = LatencyRecord()
    record.add(1, 10.0, ())
    record.add(2, 20.0, ())
    report = record.take()
    assert report is not None
    assert (report.epoch, report.latencies_ms) == (2, (20.0,))


def test_a_report_is_bounded() -> None:
    record = LatencyRecord()
    for number in range(10 * MAX_LATENCIES):
        record.add(1, float(number), (stage("pi", 0.0, float(number)),))
    report = record.take()
    assert report is not None
    assert len(report.latencies_ms) == MAX_LATENCIES
    assert report.latencies_ms[-1] == 10 * MAX_LATENCIES - 1
