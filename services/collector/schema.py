"""Schema of the collector's database, and how its file is opened."""

import sqlite3
from pathlib import Path
from typing import Final

from services.collector.errors import NoRecords, StoreUnavailable
from shared.sqlite_log import bound_log

DATABASE_VERSION: Final = 1
_BUSY_TIMEOUT_S: Final = 5.0
_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
# Checking reads the whole file. Damage in larger files shows only when a query meets it.
_CHECKED_BYTES: Final = 64 * 1024 * 1024

# AUTOINCREMENT never reuses a position, even after its row was deleted. Pruning depends on that.
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS outcomes (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, request_id TEXT NOT NULL,
    status TEXT NOT NULL, model TEXT NOT NULL, epoch INTEGER NOT NULL, attempt INTEGER NOT NULL,
    cause TEXT, error TEXT NOT NULL, label TEXT, score REAL,
    accepted_at_s REAL NOT NULL, dispatched_at_s REAL NOT NULL, completed_at_s REAL NOT NULL,
    received_at_s REAL NOT NULL, input_bytes INTEGER NOT NULL, UNIQUE (stream, request_id));
CREATE INDEX IF NOT EXISTS outcomes_by_time ON outcomes (stream, completed_at_s);
CREATE INDEX IF NOT EXISTS outcomes_by_epoch ON outcomes (stream, epoch, completed_at_s);
CREATE INDEX IF NOT EXISTS outcomes_by_age ON outcomes (received_at_s);
CREATE TABLE IF NOT EXISTS stages (
    outcome INTEGER NOT NULL, stage INTEGER NOT NULL, device TEXT NOT NULL, start INTEGER NOT NULL,
    stop INTEGER NOT NULL, received_at_s REAL NOT NULL, queue_ms REAL NOT NULL, compute_ms REAL NOT NULL,
    sent_at_s REAL, output_bytes INTEGER NOT NULL, codec TEXT NOT NULL,
    PRIMARY KEY (outcome, stage)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, request_id TEXT NOT NULL,
    received_at_s REAL NOT NULL, UNIQUE (stream, request_id));
CREATE TABLE IF NOT EXISTS totals (
    stream TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (stream, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, at_s REAL NOT NULL, origin TEXT NOT NULL,
    text TEXT NOT NULL, stream TEXT, device TEXT, data TEXT NOT NULL, received_at_s REAL NOT NULL,
    UNIQUE (at_s, origin, kind, text));
CREATE TABLE IF NOT EXISTS reroutes (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, epoch INTEGER NOT NULL,
    cause TEXT NOT NULL, committed_at_s REAL NOT NULL, document TEXT NOT NULL, received_at_s REAL NOT NULL,
    UNIQUE (stream, epoch, committed_at_s));
CREATE TABLE IF NOT EXISTS plans (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, epoch INTEGER NOT NULL,
    committed_at_s REAL NOT NULL, document TEXT NOT NULL, received_at_s REAL NOT NULL,
    UNIQUE (stream, epoch, committed_at_s));
CREATE TABLE IF NOT EXISTS telemetry (
    position INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, sent_at_s REAL NOT NULL,
    cpu_percent REAL NOT NULL, memory_used_bytes INTEGER NOT NULL, memory_total_bytes INTEGER NOT NULL,
    temperature_c REAL, power_w REAL, load_factor REAL NOT NULL, received_at_s REAL NOT NULL,
    swap_used_bytes INTEGER, memory_stall_percent REAL);
CREATE INDEX IF NOT EXISTS telemetry_by_device ON telemetry (device, position);
CREATE TABLE IF NOT EXISTS links (
    position INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, target TEXT NOT NULL, sent_at_s REAL NOT NULL,
    bandwidth_mbps REAL NOT NULL, latency_ms REAL NOT NULL, samples INTEGER NOT NULL, received_at_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS links_by_device ON links (device, target, position);
CREATE TABLE IF NOT EXISTS members (
    role TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, version TEXT NOT NULL, boot_id TEXT NOT NULL,
    changed_at_s REAL NOT NULL, PRIMARY KEY (role, name)) WITHOUT ROWID;
"""

# Columns that databases of earlier versions lack, with their types. An earlier version leaves them empty.
_LATER_COLUMNS: Final = (
    ("stages", "transport", "TEXT"),
    ("links", "transport", "TEXT"),
    ("telemetry", "swap_used_bytes", "INTEGER"),
    ("telemetry", "memory_stall_percent", "REAL"),
    ("stages", "top_row", "INTEGER"),
    ("stages", "bottom_row", "INTEGER"),
    ("stages", "wait_ms", "REAL"),
)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open or make the database, and check its integrity.

    Raises:
        StoreUnavailable: it cannot be opened, or a newer Segue has written it.
        sqlite3.DatabaseError: it is damaged, or no database. Its subclass OperationalError is never raised.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.OperationalError) as error:
        raise StoreUnavailable(f"the database {path} cannot be opened: {error}") from error
    try:
        _prepare(path, database)
    except sqlite3.OperationalError as error:
        database.close()
        raise StoreUnavailable(f"the database {path} cannot be used: {error}") from error
    except BaseException:
        database.close()
        raise
    return database


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the database of a collector that may run at the same time in another process.

    Raises:
        NoRecords: it does not exist, or is unreadable.
    """
    if not path.is_file():
        raise NoRecords(f"there is no collector's database at {path}")
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=_BUSY_TIMEOUT_S, uri=True)
        database.execute("SELECT 1 FROM outcomes LIMIT 1").fetchone()
        if _missing_columns(database):
            database.close()
            raise NoRecords(f"an earlier Segue has written {path}; start `segue collector` once to extend it")
    except sqlite3.Error as error:
        raise NoRecords(f"the collector's database {path} cannot be read: {error}") from error
    return database


def _prepare(path: Path, database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > DATABASE_VERSION:
        raise StoreUnavailable(f"the database {path} was written by a newer Segue (schema {version})")
    if 0 < path.stat().st_size <= _CHECKED_BYTES:
        (finding,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            raise sqlite3.DatabaseError(finding)
    # With a write-ahead log, readers in other processes do not block the writer.
    database.execute("PRAGMA journal_mode = WAL")
    # Sources stop repeating confirmed outcomes, so these must survive a power cut as well.
    database.execute("PRAGMA synchronous = FULL")
    database.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    bound_log(database, path.parent, _CHECKPOINT_BYTES)
    database.executescript(_TABLES)
    for table, column, kind in _missing_columns(database):
        database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    database.execute(f"PRAGMA user_version = {DATABASE_VERSION}")


def _missing_columns(database: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Return the later columns that a database lacks, each with its table and its type."""
    return [
        (table, column, kind)
        for table, column, kind in _LATER_COLUMNS
        if column not in {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}
    ]
