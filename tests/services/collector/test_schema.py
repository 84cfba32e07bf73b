"""How the database's file is opened."""

import sqlite3
from pathlib import Path

import pytest

from services.collector.errors import NoRecords, StoreUnavailable
from services.collector.schema import DATABASE_VERSION, open_for_reading, open_for_writing


def test_a_new_database_is_durable_and_readable_while_it_is_written(path: Path) -> None:
    database = open_for_writing(path)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA user_version").fetchone() == (DATABASE_VERSION,)
    reader = open_for_reading(path)
    assert reader.execute("SELECT COUNT(*) FROM outcomes").fetchone() == (0,)
    reader.close()
    database.close()


def test_a_database_of_a_newer_version_is_left_alone(path: Path) -> None:
    database = open_for_writing(path)
    database.execute(f"PRAGMA user_version = {DATABASE_VERSION + 1}")
    database.close()
    with pytest.raises(StoreUnavailable, match="newer Segue"):
        open_for_writing(path)


def test_a_file_that_is_no_database_is_reported_as_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        open_for_writing(path)
    assert type(caught.value) is sqlite3.DatabaseError
    with pytest.raises(NoRecords, match="cannot be read"):
        open_for_reading(path)


def test_a_folder_that_cannot_be_made_makes_the_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_for_writing(tmp_path / "file" / "collector.sqlite")


def test_a_database_of_an_earlier_version_gets_the_columns_that_it_lacks(path: Path) -> None:
    database = open_for_writing(path)
    for table in ("stages", "links"):
        database.execute(f"ALTER TABLE {table} DROP COLUMN transport")
    database.execute("ALTER TABLE telemetry DROP COLUMN swap_used_bytes")
    database.close()
    with pytest.raises(NoRecords, match="start `segue collector` once"):
        open_for_reading(path)
    for _ in range(2):
        database = open_for_writing(path)
        database.execute("SELECT s.transport, l.transport FROM stages s, links l").fetchall()
        database.execute("SELECT swap_used_bytes FROM telemetry").fetchall()
        database.close()
    open_for_reading(path).close()
