"""Answers that can be worked out by hand."""

import sqlite3
from pathlib import Path

import pytest

from services.collector.errors import NoRecords
from services.collector.inbound import ingest
from services.collector.outcome_store import OutcomeStore, ReceivedRecord
from services.collector.query import CollectorRecords
from services.collector.query_results import Window
from shared.bus import topics
from shared.messages.devices import LinkEstimate, Links, Presence, ServicePresence, State, Telemetry
from shared.messages.events import Event, EventKind
from shared.messages.requests import Outcome, StageTrace
from tests.support.collector_world import START_S, arrivals, failure, reroute_event, result


def test_latencies_by_stream_epoch_and_time(store: OutcomeStore) -> None:
    store.write(
        arrivals(
            result("a", latency_ms=40.0, at_s=START_S),
            result("b", latency_ms=60.0, at_s=START_S + 10),
            result("c", latency_ms=100.0, epoch=2, at_s=START_S + 20),
            result("d", latency_ms=500.0, stream="other"),
            failure("e"),
        )
    )
    with CollectorRecords.open(store.path) as records:
        camera = records.latencies(Window(stream="camera"))
        assert camera.dispatched.count == 3
        assert camera.dispatched.p50_ms == pytest.approx(60.0, abs=0.01)
        assert camera.accepted.p50_ms == pytest.approx(70.0, abs=0.01)
        assert records.latencies(Window(stream="camera", epoch=2)).dispatched.max_ms == pytest.approx(100.0, abs=0.01)
        window = Window(since_s=START_S + 5, until_s=START_S + 20)
        assert records.latencies(window).dispatched.count == 1
        assert records.streams() == ("camera", "other")


@pytest.mark.parametrize("ahead_s", [0.0, 3600.0, -3600.0])
def test_a_reroute_is_joined_with_what_was_measured_around_it(store: OutcomeStore, ahead_s: float) -> None:
    """The planner's clock may be ahead of the source's, and the collector's differs from both."""
    trigger = START_S + 100.0
    before = [result(f"b{n}", epoch=1, at_s=START_S + n, latency_ms=50.0) for n in range(10)]
    slow = [result(f"s{n}", epoch=1, at_s=trigger + 0.01 * n, latency_ms=400.0) for n in range(5)]
    after = [result(f"a{n}", epoch=2, at_s=trigger + 0.5 + 0.1 * n, latency_ms=120.0) for n in range(30)]
    event = ingest(topics.events(), reroute_event(trigger_at_s=trigger + ahead_s).encode())
    store.write([ReceivedRecord(each, each.completed_at_s - 77.0) for each in (*before, *slow)])
    store.write(arrivals(event, at_s=trigger + 0.02 - 77.0))
    store.write([ReceivedRecord(each, each.completed_at_s - 77.0) for each in after])
    with CollectorRecords.open(store.path) as records:
        (found,) = records.reroutes("camera")
        assert records.reroutes("other") == ()
    assert found.reroute.reason == "the link to server fell to 2 Mbps"
    assert (found.before.count, found.after.count) == (5, 20)
    assert found.before.p50_ms == pytest.approx(400.0, abs=0.01)
    assert found.after.p50_ms == pytest.approx(120.0, abs=0.01)
    assert found.reaction_ms == pytest.approx(500.0 - 120.0, abs=0.01)


def test_a_reroute_without_requests_has_no_measurements(store: OutcomeStore) -> None:
    store.write(arrivals(ingest(topics.events(), reroute_event().encode())))
    with CollectorRecords.open(store.path) as records:
        (found,) = records.reroutes()
    assert (found.before.count, found.after.count, found.reaction_ms) == (0, 0, None)


def test_the_newest_events_come_first(store: OutcomeStore) -> None:
    events = [
        Event(kind=EventKind.FAILURE if n % 2 else EventKind.DEVICE_LOST, at_s=float(n), origin="pi", text=f"e{n}")
        for n in range(10)
    ]
    store.write(arrivals(*events))
    with CollectorRecords.open(store.path) as records:
        assert [event.text for event in records.events(limit=3)] == ["e9", "e8", "e7"]
        assert [event.text for event in records.events(limit=2, kind="failure")] == ["e9", "e7"]
        assert records.events(stream="camera") == ()


def test_devices_with_their_newest_telemetry_and_links(store: OutcomeStore) -> None:
    store.write(
        arrivals(
            Presence(device="pi", state=State.ONLINE, version="1", boot_id="a"),
            Presence(device="server", state=State.ONLINE),
            Telemetry(device="pi", sent_at_s=1.0, load_factor=1.0),
            Telemetry(device="pi", sent_at_s=2.0, load_factor=3.0, temperature_c=61.0),
            Links(device="pi", sent_at_s=1.0, links=(LinkEstimate(target="old", bandwidth_mbps=9, latency_ms=9),)),
            Links(device="pi", sent_at_s=2.0, links=(LinkEstimate(target="server", bandwidth_mbps=20, latency_ms=2),)),
            ServicePresence(name="planner", role="planner", state=State.ONLINE),
        )
    )
    store.write(arrivals(Presence(device="server", state=State.OFFLINE), at_s=START_S + 5))
    store.write(arrivals(Presence(device="pi", state=State.ONLINE, version="1", boot_id="a"), at_s=START_S + 9))
    with CollectorRecords.open(store.path) as records:
        pi, server = records.devices()
        (planner,) = records.services()
    assert (pi.device, pi.online, pi.load_factor, pi.temperature_c) == ("pi", True, 3.0, 61.0)
    assert pi.changed_at_s == START_S
    assert [(link.target, link.bandwidth_mbps) for link in pi.links] == [("server", 20.0)]
    assert (server.online, server.changed_at_s, server.load_factor) == (False, START_S + 5, None)
    assert (planner.role, planner.name, planner.online) == ("planner", "planner", True)


def test_where_the_time_went_by_stage(store: OutcomeStore) -> None:
    def traced(number: int) -> Outcome:
        trace = (
            StageTrace(
                device="pi",
                start=0,
                stop=4,
                received_at_s=START_S,
                queue_ms=number,
                compute_ms=20.0 + number,
                sent_at_s=START_S + 1,
                output_bytes=1000,
            ),
            StageTrace(device="server", start=4, stop=9, received_at_s=START_S + 1.03, compute_ms=5.0),
        )
        return result(f"r{number}", trace=trace)

    store.write(arrivals(*(traced(number) for number in range(3))))
    with CollectorRecords.open(store.path) as records:
        first, second = records.stages(Window(stream="camera", epoch=1))
        assert records.stages(Window(epoch=7)) == ()
    assert (first.device, first.start, first.stop, first.requests) == ("pi", 0, 4, 3)
    assert (first.queue_ms, first.compute_ms, first.output_bytes) == (1.0, 21.0, 1000)
    assert first.transfer_ms == pytest.approx(30.0, abs=0.01)
    assert (second.device, second.transfer_ms) == ("server", None)


def test_a_reader_writes_nothing(store: OutcomeStore) -> None:
    with CollectorRecords.open(store.path) as records, pytest.raises(sqlite3.OperationalError, match="readonly"):
        records._database.execute("DELETE FROM outcomes")


def test_a_reader_sees_what_is_written_meanwhile(store: OutcomeStore) -> None:
    with CollectorRecords.open(store.path) as records:
        assert records.counts().results == 0
        store.write(arrivals(result("r1")))
        assert records.counts().results == 1


def test_no_database_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(NoRecords, match="no collector's database"), CollectorRecords.open(tmp_path / "missing.sqlite"):
        pass
    (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
    with pytest.raises(NoRecords, match="cannot be read"), CollectorRecords.open(tmp_path / "garbage"):
        pass
