import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from services.executor.source.journal import Journal, StoredOutcome
from services.executor.source.source_events import Request, RestoredRequest
from tests.support.shared_paths import REPOSITORY

FULL = Request(
    "r", 3, 100.0, accept="application/msgpack", response_topic="a/b", correlation_data=b"\x00\xff", traceparent="00-1"
)
OUTCOME = StoredOutcome(b"{}", "application/json")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices" / "d" / "journal.sqlite"


def test_accepted_requests_come_back_in_order(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, b"abc", 100.0)
        journal.accept("s", Request("q", 1, 101.0), b"x", 101.0)
        journal.accept("other", Request("r", 1, 101.0), b"y", 101.0)
        journal.note_attempt("s", "r", 2, 1)
    journal.close()
    again = Journal.open(path)
    requests, outcomes = again.restore("s", 110.0)
    assert requests == (
        RestoredRequest(FULL, 10.0, attempt=2, used_retries=1),
        RestoredRequest(Request("q", 1, 101.0), 9.0, attempt=0),
    )
    assert outcomes == ()
    assert again.payload("s", "r") == b"abc"
    assert again.payload("other", "r") == b"y"
    assert again.streams() == ("other", "s")


def test_an_outcome_replaces_its_request(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, b"abc", 100.0)
        journal.finish("s", FULL, OUTCOME, 105.0)
        journal.finish("s", FULL, StoredOutcome(b"later", ""), 106.0)
    requests, (outcome,) = journal.restore("s", 110.0)
    assert requests == ()
    assert (outcome.request_id, outcome.size_bytes, outcome.age_s, outcome.confirmed) == ("r", 2, 5.0, False)
    assert journal.payload("s", "r") is None
    assert journal.outcome("s", "r") == OUTCOME


def test_an_outcome_is_unpublished_until_the_broker_or_a_collector_has_it(path: Path) -> None:
    journal = Journal.open(path)
    requests = {name: Request(name, 1, 0.0, response_topic=f"replies/{name}") for name in "abcd"}
    with journal.transaction():
        for request in requests.values():
            journal.finish("s", request, OUTCOME, 0.0, is_published=request.request_id == "d")
        journal.note_published("s", ["a", "unknown"])
        journal.confirm("s", ["b"])
        journal.note_published("other", ["c"])
    journal.close()
    again = Journal.open(path)
    assert [outcome.unpublished for outcome in again.restore("s", 0.0)[1]] == [None, None, requests["c"], None]
    with again.transaction():
        again.forget("s", "abcd")
        again.finish("s", requests["c"], OUTCOME, 0.0, is_published=True)
    assert [outcome.unpublished for outcome in again.restore("s", 0.0)[1]] == [None]


def test_confirmed_and_forgotten(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        for name in "ab":
            journal.finish("s", Request(name, 1, 0.0), OUTCOME, 0.0)
        journal.confirm("s", ["a", "unknown"])
    assert [outcome.confirmed for outcome in journal.restore("s", 0.0)[1]] == [True, False]
    with journal.transaction():
        journal.forget("s", ["a"])
    assert journal.outcome("s", "a") is None
    assert journal.outcome("s", "b") == OUTCOME


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    journal = Journal.open(path)

    def accept_and_fail() -> None:
        with journal.transaction():
            journal.accept("s", FULL, b"abc", 100.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        accept_and_fail()
    assert journal.restore("s", 0.0) == ((), ())


def test_the_clock_goes_on_in_the_next_process(path: Path) -> None:
    first = Journal.open(path)
    clock = first.clock
    first.close()
    assert Journal.open(path).clock == clock


def test_a_clock_that_went_back_makes_no_negative_ages(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, b"", 100.0)
    assert journal.restore("s", 0.0)[0][0].age_s == 0.0


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, b"abc", 100.0)
    assert journal.payload("s", "r") == b"abc"
    (aside,) = path.parent.glob("journal.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert "is damaged" in caplog.text


def test_a_journal_of_a_newer_version_is_moved_aside(path: Path) -> None:
    journal = Journal.open(path)
    journal.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    Journal.open(path)
    assert len(list(path.parent.glob("journal.sqlite.damaged-*"))) >= 1


def test_replace_damaged(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, b"abc", 100.0)
    journal.replace_damaged("for the test")
    assert journal.streams() == ()


def test_watched_files(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.note_watched("s", "a.jpg", "1")
        journal.note_watched("s", "a.jpg", "2")
        journal.note_watched("s", "b.jpg", "1")
        journal.forget_watched("s", ["b.jpg"])
    assert journal.watched("s") == {"a.jpg": "2"}


def test_what_was_committed_survives_sigkill(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from services.executor.source.journal import Journal\n"
        "from services.executor.source.source_events import Request\n"
        "journal = Journal.open(Path(sys.argv[1]))\n"
        "with journal.transaction(): journal.accept('s', Request('r', 1, 0.0), b'x' * 100_000, 0.0)\n"
        "sys.stdout.write('committed'); sys.stdout.flush(); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.read(9) == b"committed"
        os.kill(process.pid, signal.SIGKILL)
    assert Journal.open(path).payload("s", "r") == b"x" * 100_000


def test_what_was_committed_survives_sigkill_in_the_middle_of_a_checkpoint(path: Path) -> None:
    program = (
        "import sys, threading; from pathlib import Path\n"
        "from services.executor.source.journal import Journal\n"
        "from services.executor.source.source_events import Request\n"
        "path = Path(sys.argv[1]); journal = Journal.open(path)\n"
        "def repeat():\n"
        "    while True: journal.checkpoint()\n"
        "threading.Thread(target=repeat, daemon=True).start()\n"
        "for number in range(10_000):\n"
        "    payload = b'%d' % number * 10_000\n"
        "    with journal.transaction(): journal.accept('s', Request(str(number), 1, 0.0), payload, 0.0)\n"
        "    sys.stdout.write(f'{number}\\n'); sys.stdout.flush()\n"
    )
    arguments = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        numbers = [int(process.stdout.readline()) for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
    journal = Journal.open(path)
    assert [journal.payload("s", str(number)) for number in numbers] == [b"%d" % number * 10_000 for number in numbers]


def test_a_checkpoint_beside_open_transactions_keeps_everything(path: Path) -> None:
    journal = Journal.open(path)
    payload = bytes(range(256)) * 64
    number = 0
    while not journal.is_checkpoint_due:
        with journal.transaction():
            for _ in range(64):
                journal.accept("s", Request(f"r{number}", len(payload), 0.0), payload, 0.0)
                number += 1
    # The log is not copied by the transactions themselves.
    assert path.with_name(f"{path.name}-wal").stat().st_size > 4_000_000 > path.stat().st_size
    journal.checkpoint_begins()
    with journal.transaction():
        journal.accept("s", Request("open", 1, 0.0), b"x", 0.0)
        journal.checkpoint()
    assert path.stat().st_size > 4_000_000
    assert not journal.is_checkpoint_due
    assert [journal.payload("s", f"r{each}") for each in range(number)] == [payload] * number
    assert journal.payload("s", "open") == b"x"


def test_a_transaction_that_the_disk_refuses_makes_room_in_the_log(path: Path) -> None:
    journal = Journal.open(path)
    for number in range(4):
        with journal.transaction():
            journal.accept("s", Request(f"r{number}", 30_000, 0.0), bytes(30_000), 0.0)
    assert path.stat().st_size < 100_000
    with pytest.raises(sqlite3.OperationalError), journal.transaction():
        raise sqlite3.OperationalError("database or disk is full")
    assert path.stat().st_size > 100_000
    assert journal.payload("s", "r3") == bytes(30_000)


def test_the_log_is_bounded_without_checkpoints_of_others(path: Path) -> None:
    journal = Journal.open(path)
    payload = bytes(4_000_000)
    for number in range(40):
        with journal.transaction():
            request = Request(f"r{number}", len(payload), 0.0)
            journal.accept("s", request, payload, 0.0)
            journal.finish("s", request, OUTCOME, 0.0)
    assert path.with_name(f"{path.name}-wal").stat().st_size < 80_000_000


LARGE = bytes(range(256)) * 1000


def files_of(path: Path) -> list[Path]:
    """Return the files of payloads beside a journal."""
    return sorted(path.with_name(f"{path.name}-payloads").glob("*"))


def test_a_large_payload_has_a_file_until_its_outcome_is_committed(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, LARGE, 100.0)
    (file,) = files_of(path)
    assert file.stat().st_mode & 0o777 == 0o600
    journal.close()
    journal = Journal.open(path)
    assert journal.payload("s", "r") == LARGE
    with contextlib.suppress(RuntimeError), journal.transaction():
        journal.finish("s", FULL, OUTCOME, 105.0)
        raise RuntimeError
    assert journal.payload("s", "r") == LARGE
    with journal.transaction():
        journal.finish("s", FULL, OUTCOME, 105.0)
        assert files_of(path) == [file]
    assert files_of(path) == []
    assert path.with_name(f"{path.name}-wal").stat().st_size < len(LARGE)


def test_a_transaction_that_fails_leaves_no_file(path: Path) -> None:
    journal = Journal.open(path)
    with contextlib.suppress(RuntimeError), journal.transaction():
        journal.accept("s", FULL, LARGE, 100.0)
        assert len(files_of(path)) == 1
        raise RuntimeError
    assert files_of(path) == []
    assert journal.payload("s", "r") is None


def test_a_request_that_comes_again_keeps_its_file_and_gets_a_lost_one_again(path: Path) -> None:
    journal = Journal.open(path)
    for _ in range(2):
        with journal.transaction():
            journal.accept("s", FULL, LARGE, 100.0)
    (file,) = files_of(path)
    file.unlink()
    assert journal.payload("s", "r") is None
    with journal.transaction():
        journal.accept("s", FULL, LARGE, 100.0)
    assert journal.payload("s", "r") == LARGE


def test_files_without_requests_are_removed_at_the_start(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, LARGE, 100.0)
    journal.close()
    (file,) = files_of(path)
    file.with_name("0123456789abcdef").write_bytes(LARGE)
    file.with_name("0123456789abcdef.new").write_bytes(LARGE)
    Journal.open(path).close()
    assert files_of(path) == [file]


def test_where_no_file_can_be_made_the_database_takes_the_payload(path: Path) -> None:
    journal = Journal.open(path)
    path.with_name(f"{path.name}-payloads").write_text("in the way")
    with journal.transaction():
        journal.accept("s", FULL, LARGE, 100.0)
    assert journal.payload("s", "r") == LARGE
    with journal.transaction():
        journal.accept("s", FULL, LARGE, 100.0)
        journal.finish("s", FULL, OUTCOME, 105.0)
    assert journal.payload("s", "r") is None


def test_a_new_journal_does_not_keep_the_files_of_a_damaged_one(path: Path) -> None:
    journal = Journal.open(path)
    with journal.transaction():
        journal.accept("s", FULL, LARGE, 100.0)
    journal.replace_damaged("a test")
    assert files_of(path) == []
    assert journal.payload("s", "r") is None
