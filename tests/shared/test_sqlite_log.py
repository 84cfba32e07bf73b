import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from shared.sqlite_log import begin_log_again, bound_log, checkpoint_after_bytes


class Usage(NamedTuple):
    free: int


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "d.sqlite")) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("CREATE TABLE t (value BLOB)")
        opened.commit()
        yield opened


def write(database: sqlite3.Connection, count: int) -> None:
    for _ in range(count):
        with database:
            database.execute("INSERT INTO t VALUES (?)", (bytes(10_000),))


def test_a_log_leaves_room_to_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoint_after_bytes(tmp_path, 1000) == 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=1500))
    assert checkpoint_after_bytes(tmp_path, 1000) == 750
    monkeypatch.undo()
    assert checkpoint_after_bytes(tmp_path / "missing", 1000) == 1000


def test_transactions_on_a_small_disk_do_their_checkpoint_earlier(
    tmp_path: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=200_000))
    bound_log(database, tmp_path, 4_000_000)
    write(database, 100)
    assert (tmp_path / "d.sqlite-wal").stat().st_size < 200_000


def test_a_log_is_begun_again_after_its_checkpoint(tmp_path: Path, database: sqlite3.Connection) -> None:
    write(database, 50)
    before = (tmp_path / "d.sqlite-wal").stat().st_size
    begin_log_again(database)
    write(database, 20)
    assert (tmp_path / "d.sqlite-wal").stat().st_size == before
    assert database.execute("SELECT COUNT(*) FROM t").fetchone() == (70,)
    database.close()
    begin_log_again(database)
