"""Each outcome once, bounded, and nothing lost by SIGKILL or by a damaged file."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from services.collector.errors import StoreUnavailable
from services.collector.inbound import RequestSeen, ingest
from services.collector.outcome_store import OutcomeStore, ReceivedRecord, StoreLimits, WriteResult
from services.collector.query import CollectorRecords
from shared.bus import topics
from shared.messages.devices import LinkEstimate, Links, Telemetry
from shared.messages.events import Event, EventKind
from shared.messages.requests import Outcome, OutcomeStatus, StageTrace
from tests.support.collector_world import START_S, arrivals, failure, reroute_event, result


def rows(path: Path, table: str) -> int:
    with sqlite3.connect(path) as database:
        count: int
        (count,) = database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    database.close()
    return count


def test_outcomes_are_stored_once_and_the_rest_is_told_apart(store: OutcomeStore) -> None:
    first, again = result("r1"), result("r1", attempt=2, at_s=START_S + 1)
    assert store.write(arrivals(first, first, again, failure("r1"), failure("r2"))) == (
        WriteResult.RESULT,
        WriteResult.REDELIVERED,
        WriteResult.DUPLICATE,
        WriteResult.LATE_ERROR,
        WriteResult.ERROR,
    )
    assert store.write(arrivals(result("r2"))) == (WriteResult.LATE_RESULT,)
    with CollectorRecords.open(store.path) as records:
        counts = records.counts()
    assert (counts.requests, counts.results, counts.errors) == (2, 1, 1)
    assert (counts.duplicates, counts.redelivered, counts.late, counts.lost) == (1, 1, 2, 0)


def test_the_same_id_on_two_streams_is_two_requests(store: OutcomeStore) -> None:
    batch = arrivals(result("r1"), result("r1", stream="other"))
    assert store.write(batch) == (WriteResult.RESULT, WriteResult.RESULT)


def test_a_request_seen_is_lost_until_its_outcome_comes(store: OutcomeStore) -> None:
    store.write(arrivals(RequestSeen("camera", "r1"), RequestSeen("camera", "r1"), RequestSeen("camera", "r2")))
    with CollectorRecords.open(store.path) as records:
        assert (records.counts().requests, records.counts().lost) == (2, 2)
    store.write(arrivals(result("r1"), RequestSeen("camera", "r1")))
    with CollectorRecords.open(store.path) as records:
        assert (records.counts("camera").requests, records.counts("camera").lost) == (2, 1)
        assert records.missing("camera", ["r2", "r1", "r2", "r3"]) == ("r2", "r3")


def test_a_record_that_does_not_fit_is_refused_alone(store: OutcomeStore) -> None:
    huge = result("r1").model_copy(update={"epoch": 2**70})
    assert store.write(arrivals(huge, result("r2"))) == (WriteResult.REFUSED, WriteResult.RESULT)
    trace = (StageTrace(device="pi", start=0, stop=9, received_at_s=0.0).model_copy(update={"stop": 2**70}),)
    assert store.write(arrivals(result("r3").model_copy(update={"trace": trace}), result("r4"))) == (
        WriteResult.REFUSED,
        WriteResult.RESULT,
    )
    assert rows(store.path, "outcomes") == 2


def test_events_and_plans_that_come_again_are_stored_once(store: OutcomeStore) -> None:
    seen = ingest(topics.events(), reroute_event().encode())
    store.write(arrivals(seen, seen))
    store.write(arrivals(seen))
    assert (rows(store.path, "events"), rows(store.path, "reroutes")) == (1, 1)


def test_data_that_is_not_json_is_written_as_text(store: OutcomeStore) -> None:
    event = Event(kind=EventKind.FAILURE, at_s=1.0, origin="pi", text="x" * 10_000, data={"raw": b"\xff", "n": 1})
    store.write(arrivals(event))
    with CollectorRecords.open(store.path) as records:
        (stored,) = records.events()
    assert stored.data == {"raw": "b'\\xff'", "n": 1}
    assert len(stored.text) == 4000


def test_rows_are_bounded_and_the_oldest_go_first_with_their_traces(path: Path) -> None:
    store = OutcomeStore(path, StoreLimits(outcomes=10, samples=5, events=3))
    trace = (StageTrace(device="pi", start=0, stop=9, received_at_s=1.0),)
    for number in range(50):
        store.write(
            arrivals(
                result(f"r{number}", trace=trace),
                Telemetry(device="pi", sent_at_s=float(number)),
                Links(device="pi", sent_at_s=1.0, links=(LinkEstimate(target="b", bandwidth_mbps=1, latency_ms=1),)),
                Event(kind=EventKind.FAILURE, at_s=float(number), origin="pi", text="x"),
                RequestSeen("camera", f"unanswered{number}"),
            )
        )
    store.prune(START_S)
    counts = {table: rows(path, table) for table in ("outcomes", "stages", "telemetry", "links", "events", "requests")}
    assert counts == {"outcomes": 10, "stages": 10, "telemetry": 5, "links": 5, "events": 3, "requests": 3}
    with CollectorRecords.open(path) as records:
        assert records.missing("camera", ["r39", "r40", "r49"]) == ("r39",)
        assert records.counts().results == 50
    store.close()


def test_old_rows_go(path: Path) -> None:
    store = OutcomeStore(path, StoreLimits(age_s=100.0))
    store.write([ReceivedRecord(result("old"), START_S), ReceivedRecord(result("new"), START_S + 90.0)])
    store.prune(START_S + 101.0)
    with CollectorRecords.open(path) as records:
        assert records.missing("camera", ["old", "new"]) == ("old",)
    store.close()


def test_pruning_happens_by_itself(path: Path) -> None:
    store = OutcomeStore(path, StoreLimits(outcomes=100))
    for begin in range(0, 5000, 500):
        store.write(arrivals(*(result(f"r{number}") for number in range(begin, begin + 500))))
    assert rows(path, "outcomes") <= 100 + 2000
    store.close()


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside_and_told(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    store = OutcomeStore(path)
    assert store.write(arrivals(result("r1"))) == (WriteResult.RESULT,)
    store.close()
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == content
    assert "is damaged" in caplog.text
    assert str(aside) in caplog.text


def test_damage_inside_a_database_is_found_at_the_start(path: Path) -> None:
    store = OutcomeStore(path)
    store.write(arrivals(*(result(f"r{number}") for number in range(500))))
    store.close()
    content = bytearray(path.read_bytes())
    for offset in range(4096 * 2, len(content), 4096):
        content[offset : offset + 64] = b"\x5a" * 64
    path.write_bytes(content)
    store = OutcomeStore(path)
    store.write(arrivals(result("after")))
    store.close()
    assert rows(path, "outcomes") == 1
    assert len(list(path.parent.glob("*.damaged-*"))) == 1


def test_two_damaged_files_are_both_kept(path: Path) -> None:
    path.parent.mkdir(parents=True)
    for _ in range(2):
        path.write_bytes(b"no database" * 500)
        OutcomeStore(path).close()
        path.unlink()
    assert len(list(path.parent.glob("*.damaged-*"))) == 2


def test_a_database_of_a_newer_segue_is_not_touched(path: Path) -> None:
    OutcomeStore(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreUnavailable, match="newer Segue"):
        OutcomeStore(path)
    assert list(path.parent.glob("*.damaged-*")) == []


def test_a_database_that_is_locked_refuses_the_whole_batch_and_takes_it_later(
    store: OutcomeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store._database.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.write(arrivals(result("r1")))
    other.execute("ROLLBACK")
    other.close()
    assert store.write(arrivals(result("r1"))) == (WriteResult.RESULT,)


def test_what_was_written_survives_sigkill(path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; "
        "from services.collector.outcome_store import OutcomeStore, ReceivedRecord; "
        "from shared.messages.requests import Outcome; "
        "store = OutcomeStore(Path(sys.argv[1])); "
        "outcomes = [Outcome(request_id=f'r{n}', stream='camera', status='ok') for n in range(50)]; "
        "[store.write([ReceivedRecord(outcome, 1.0)]) for outcome in outcomes]; "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    store = OutcomeStore(path)
    again = Outcome(request_id="r49", stream="camera", status=OutcomeStatus.OK)
    assert store.write(arrivals(again)) == (WriteResult.REDELIVERED,)
    store.close()
    assert rows(path, "outcomes") == 50
