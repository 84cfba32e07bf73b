import struct
import zlib
from dataclasses import asdict
from pathlib import Path

import msgpack
import pytest

from services.executor.source.outcome_log import MAX_LOGGED_BYTES, LoggedOutcome, OutcomeLog


def outcome(number: int, size_bytes: int = 10) -> LoggedOutcome:
    return LoggedOutcome("s", b"request %d" % number, b"x" * size_bytes, "application/json", float(number))


def opened(path: Path) -> OutcomeLog:
    # On a busy machine any write may take long.
    return OutcomeLog(path, slow_s=60.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_what_was_appended_is_read_after_a_crash(path: Path) -> None:
    log = opened(path)
    assert log.read() == []
    assert log.append([outcome(1), outcome(2)])
    assert log.append([outcome(3)])
    # No `close`: the process was killed.
    assert opened(path).read() == [outcome(1), outcome(2), outcome(3)]
    log.clear()
    assert path.stat().st_size == 0
    assert log.append([outcome(4)])
    assert opened(path).read() == [outcome(4)]
    log.close()


@pytest.mark.parametrize("kept", range(0, 60, 7))
def test_a_record_that_a_power_cut_has_torn_ends_the_log(path: Path, kept: int) -> None:
    opened(path).append([outcome(1)])
    whole = path.stat().st_size
    opened(path).append([outcome(2)])
    path.write_bytes(path.read_bytes()[: whole + kept])
    assert opened(path).read() == [outcome(1)]


@pytest.mark.parametrize("place", [0, 5, 9, 40])
def test_a_damaged_record_is_not_taken_for_an_outcome(path: Path, place: int) -> None:
    opened(path).append([outcome(1)])
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    assert opened(path).read() == []


@pytest.mark.parametrize(
    "fields", [[1], {"stream": "s"}, {**asdict(outcome(1)), "stream": 5}, {**asdict(outcome(1)), "at_s": None}]
)
def test_a_whole_record_of_something_else_is_no_outcome(path: Path, fields: object) -> None:
    body = msgpack.packb(fields)
    path.write_bytes(struct.pack("<II", len(body), zlib.crc32(body)) + body)
    assert opened(path).read() == []


def test_a_full_disk_changes_nothing() -> None:
    log = opened(Path("/dev/full"))
    assert not log.append([outcome(1)])
    assert log.read() == []


def test_the_log_and_what_is_written_at_once_are_bounded(path: Path) -> None:
    log = opened(path)
    assert not log.append([outcome(number, MAX_LOGGED_BYTES) for number in range(5)])
    while log.append([outcome(1, MAX_LOGGED_BYTES)]):
        assert path.stat().st_size <= 4 * 2**20
    log.clear()
    assert log.append([outcome(2, MAX_LOGGED_BYTES)])


def test_after_a_write_that_has_waited_for_the_disk_the_log_pauses(path: Path) -> None:
    log = OutcomeLog(path, slow_s=0.0)
    assert log.append([outcome(1)])
    assert not log.append([outcome(2)])
    assert log.read() == [outcome(1)]
