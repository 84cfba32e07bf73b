"""Journal of a device's sources: accepted requests with their payloads, and recent outcomes.

SQLite with a write-ahead log. A committed transaction survives SIGKILL of the process. The disk is not synchronised per
transaction (`synchronous = NORMAL`), so a power cut may lose the last moments. All calls come from one thread at a
time, never from the event loop.

Large payloads have files of their own (`payload_files`), whose names are in the database.

A checkpoint copies the log into the database, and waits for the disk twice. `Journal.checkpoint` does this on a
connection of its own, from another thread, while transactions go on. The transactions therefore do not wait for the
disk.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgpack

from services.executor.source.journal_clock import ClockBase, continued, read_boot_id
from services.executor.source.outcome_log import LoggedOutcome
from services.executor.source.payload_files import PayloadFile, PayloadFiles
from services.executor.source.source_events import Request, RestoredOutcome, RestoredRequest
from shared.data_directory import move_aside
from shared.sqlite_log import begin_log_again, checkpoint_after_bytes

_LOGGER = logging.getLogger(__name__)

_SCHEMA_VERSION = 1
# Bound on the wait for a lock that another process holds on the file.
_BUSY_TIMEOUT_S = 5.0
# A checkpoint is due after about this much new log.
_CHECKPOINT_BYTES = 4 * 1024 * 1024
# Bound on the log. SQLite begins it again at the first transaction after a complete checkpoint. Under steady load a
# transaction may always come in between, so beyond this size the transactions themselves do the checkpoint.
_WAL_LIMIT_BYTES = 16 * 1024 * 1024
# Size to which a log that has grown more, for example while the disk was full, is cut when it begins again.
_WAL_KEPT_BYTES = 2 * _CHECKPOINT_BYTES
_PAGE_BYTES = 4096
# Pages that a transaction writes beside those of payloads: rows and indices of the tables.
_PAGES_PER_TRANSACTION = 4
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, request_id TEXT NOT NULL,
    accepted_at_s REAL NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, request BLOB NOT NULL,
    used_retries INTEGER NOT NULL DEFAULT 0, UNIQUE (stream, request_id));
CREATE TABLE IF NOT EXISTS payloads (
    stream TEXT NOT NULL, request_id TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (stream, request_id));
CREATE TABLE IF NOT EXISTS payload_files (
    stream TEXT NOT NULL, request_id TEXT NOT NULL, name TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    crc32 INTEGER NOT NULL, PRIMARY KEY (stream, request_id));
CREATE TABLE IF NOT EXISTS outcomes (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, request_id TEXT NOT NULL,
    finished_at_s REAL NOT NULL, confirmed INTEGER NOT NULL DEFAULT 0, size_bytes INTEGER NOT NULL,
    content_type TEXT NOT NULL, payload BLOB NOT NULL, UNIQUE (stream, request_id));
CREATE TABLE IF NOT EXISTS unpublished (
    stream TEXT NOT NULL, request_id TEXT NOT NULL, request BLOB NOT NULL, PRIMARY KEY (stream, request_id));
CREATE TABLE IF NOT EXISTS watched (
    stream TEXT NOT NULL, name TEXT NOT NULL, stamp TEXT NOT NULL, PRIMARY KEY (stream, name));
CREATE TABLE IF NOT EXISTS clock (only INTEGER PRIMARY KEY CHECK (only = 1), boot TEXT NOT NULL, ahead_s REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An outcome as published: its bytes and their content type."""

    payload: bytes | memoryview
    content_type: str


class Journal:
    """The journal of one device, with all its streams. Open it with `Journal.open`.

    Invariant: a request is in `requests`, and in `payloads` or `payload_files`, from `accept` to `finish`, and in
    `outcomes` from `finish` to `forget`. `finish` moves it in one transaction, so that it is in exactly one of them at
    any time. It is also in `unpublished` until the broker or a collector has the outcome. `_log_bytes` estimates the
    log since the last checkpoint; `transaction`, `accept` and `finish` increase it.

    Attributes:
        path: of the file.
        clock: gives the times that are stored, for ages.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        """Wrap an open database."""
        self.path = path
        self.clock = _continue_clock(database)
        self._database = database
        self._log_bytes = 0
        self._files = PayloadFiles(path.with_name(f"{path.name}-payloads"))
        self._files.keep_only([name for (name,) in database.execute("SELECT name FROM payload_files")])

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or create the journal. A file that is no journal is moved aside and replaced by a new one.

        Raises:
            OSError: the folder cannot be created.
            sqlite3.OperationalError: the file cannot be opened (rights, disk full).
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return cls(path, _connect(path))
        except sqlite3.OperationalError:
            # A subclass of DatabaseError, but the file is not to blame: it must not be moved aside.
            raise
        except sqlite3.DatabaseError as error:
            _set_aside(path, str(error))
            return cls(path, _connect(path))

    def replace_damaged(self, reason: str) -> None:
        """Move a damaged journal aside and continue with an empty one."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        _set_aside(self.path, reason)
        self._database = _connect(self.path)
        self.clock = _continue_clock(self._database)
        self._files.keep_only(())

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of the block durable at its end, or none if it raises."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException as error:
            # SQLite itself rolls back after some errors (a full disk, for example), and then refuses another ROLLBACK.
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            self._files.rolled_back()
            if isinstance(error, sqlite3.OperationalError):
                begin_log_again(self._database)
            raise
        self._files.committed()
        self._log_bytes += _PAGES_PER_TRANSACTION * _PAGE_BYTES

    @property
    def is_checkpoint_due(self) -> bool:
        """True if the log has grown enough for a checkpoint, for the room that the disk has."""
        return self._log_bytes >= checkpoint_after_bytes(self.path.parent, _CHECKPOINT_BYTES)

    def checkpoint_begins(self) -> None:
        """Note that `checkpoint` is about to be called, so that the next one is due after as much new log."""
        self._log_bytes = 0

    def checkpoint(self) -> None:
        """Copy the log into the database, beside the transactions. May be called from another thread.

        Blocks for the disk, but neither waits for a transaction nor makes one wait. Writes the files and the log to the
        disk first, so that a power cut during the checkpoint damages nothing.

        Raises:
            OSError, sqlite3.Error: the disk is full or fails. The log keeps what it has.
        """
        self._files.sync()
        with contextlib.closing(sqlite3.connect(self.path, timeout=0.0, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def accept(self, stream: str, request: Request, payload: bytes, at_s: float) -> None:
        """Write a request that was accepted at `at_s` (`clock`), unless it is in the journal with its payload."""
        key = (stream, request.request_id)
        added = self._database.execute(
            # IGNORE: a transaction is retried when its commit fails, perhaps after it took effect.
            "INSERT OR IGNORE INTO requests (stream, request_id, accepted_at_s, request) VALUES (?, ?, ?, ?)",
            (*key, at_s, pack_request(request)),
        )
        if not added.rowcount and self._has_payload(key):
            return
        file = self._files.write(payload)
        if file is None:
            self._database.execute("INSERT OR REPLACE INTO payloads VALUES (?, ?, ?)", (*key, payload))
            self._log_bytes += len(payload)
        else:
            row = (*key, file.name, file.size_bytes, file.crc32)
            self._database.execute("INSERT OR REPLACE INTO payload_files VALUES (?, ?, ?, ?, ?)", row)

    def note_attempt(self, stream: str, request_id: str, attempt: int, used_retries: int) -> None:
        """Write the number of attempts, and of retries used, which ends a request that crashes its source each time."""
        self._database.execute(
            "UPDATE requests SET attempt = ?, used_retries = ? WHERE stream = ? AND request_id = ?",
            (attempt, used_retries, stream, request_id),
        )

    def finish(
        self, stream: str, request: Request, outcome: StoredOutcome, at_s: float, *, is_published: bool = False
    ) -> None:
        """Write an outcome of `at_s` (`clock`), unless the request has one already, and delete the request."""
        key = (stream, request.request_id)
        self._database.execute(
            "INSERT OR IGNORE INTO outcomes (stream, request_id, finished_at_s, size_bytes, content_type, payload)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*key, at_s, len(outcome.payload), outcome.content_type, outcome.payload),
        )
        self._log_bytes += len(outcome.payload)
        if not is_published:
            self._database.execute("INSERT OR IGNORE INTO unpublished VALUES (?, ?, ?)", (*key, pack_request(request)))
        self._database.execute("DELETE FROM requests WHERE stream = ? AND request_id = ?", key)
        self._database.execute("DELETE FROM payloads WHERE stream = ? AND request_id = ?", key)
        file = self._payload_file(key)
        if file is not None:
            self._database.execute("DELETE FROM payload_files WHERE stream = ? AND request_id = ?", key)
            self._files.discard(file.name)

    def take_over(self, logged: LoggedOutcome) -> None:
        """Write an outcome that was published before it was written, as `finish` does."""
        outcome = StoredOutcome(logged.payload, logged.content_type)
        self.finish(logged.stream, _unpack(logged.request), outcome, logged.at_s)

    def note_published(self, stream: str, request_ids: Iterable[str]) -> None:
        """Mark outcomes as acknowledged by the broker."""
        self._database.executemany(
            "DELETE FROM unpublished WHERE stream = ? AND request_id = ?",
            [(stream, request_id) for request_id in request_ids],
        )

    def confirm(self, stream: str, request_ids: Iterable[str]) -> None:
        """Mark outcomes as stored by a collector, which has them from the broker."""
        keys = [(stream, request_id) for request_id in request_ids]
        self._database.executemany("UPDATE outcomes SET confirmed = 1 WHERE stream = ? AND request_id = ?", keys)
        self._database.executemany("DELETE FROM unpublished WHERE stream = ? AND request_id = ?", keys)

    def forget(self, stream: str, request_ids: Iterable[str]) -> None:
        """Remove outcomes."""
        keys = [(stream, request_id) for request_id in request_ids]
        self._database.executemany("DELETE FROM outcomes WHERE stream = ? AND request_id = ?", keys)
        self._database.executemany("DELETE FROM unpublished WHERE stream = ? AND request_id = ?", keys)

    def payload(self, stream: str, request_id: str) -> bytes | None:
        """Return the payload of an accepted request that has no outcome yet; None if it is damaged.

        Raises:
            OSError, sqlite3.Error: the disk fails.
        """
        file = self._payload_file((stream, request_id))
        if file is not None:
            return self._files.read(file)
        query = "SELECT payload FROM payloads WHERE stream = ? AND request_id = ?"
        row = self._database.execute(query, (stream, request_id)).fetchone()
        return row[0] if row else None

    def _has_payload(self, key: tuple[str, str]) -> bool:
        file = self._payload_file(key)
        if file is not None:
            return self._files.holds(file)
        query = "SELECT 1 FROM payloads WHERE stream = ? AND request_id = ?"
        return self._database.execute(query, key).fetchone() is not None

    def _payload_file(self, key: tuple[str, str]) -> PayloadFile | None:
        query = "SELECT name, size_bytes, crc32 FROM payload_files WHERE stream = ? AND request_id = ?"
        row = self._database.execute(query, key).fetchone()
        return PayloadFile(*row) if row else None

    def outcome(self, stream: str, request_id: str) -> StoredOutcome | None:
        """Return the outcome of a finished request."""
        query = "SELECT payload, content_type FROM outcomes WHERE stream = ? AND request_id = ?"
        row = self._database.execute(query, (stream, request_id)).fetchone()
        return StoredOutcome(row[0], row[1]) if row else None

    def streams(self) -> tuple[str, ...]:
        """Return the streams that have a request or an outcome in the journal."""
        rows = self._database.execute("SELECT stream FROM requests UNION SELECT stream FROM outcomes ORDER BY 1")
        return tuple(row[0] for row in rows)

    def restore(self, stream: str, now_s: float) -> tuple[tuple[RestoredRequest, ...], tuple[RestoredOutcome, ...]]:
        """Return a stream's unfinished requests and its outcomes, both in the order of arrival.

        Args:
            stream: name of the stream.
            now_s: `clock`, for their ages.
        """
        requests = self._database.execute(
            "SELECT request, accepted_at_s, attempt, used_retries FROM requests WHERE stream = ? ORDER BY position",
            (stream,),
        )
        outcomes = self._database.execute(
            "SELECT request_id, size_bytes, finished_at_s, confirmed, request FROM outcomes"
            " LEFT JOIN unpublished USING (stream, request_id) WHERE stream = ? ORDER BY position",
            (stream,),
        )
        return (
            tuple(RestoredRequest(_unpack(row[0]), max(0.0, now_s - row[1]), row[2], row[3]) for row in requests),
            tuple(
                RestoredOutcome(
                    row[0],
                    row[1],
                    max(0.0, now_s - row[2]),
                    confirmed=bool(row[3]),
                    unpublished=None if row[4] is None else _unpack(row[4]),
                )
                for row in outcomes
            ),
        )

    def watched(self, stream: str) -> dict[str, str]:
        """Return the submitted files of a stream's watched directory: name to stamp."""
        return dict(self._database.execute("SELECT name, stamp FROM watched WHERE stream = ?", (stream,)))

    def note_watched(self, stream: str, name: str, stamp: str) -> None:
        """Record that a file of a watched directory was submitted."""
        self._database.execute("INSERT OR REPLACE INTO watched VALUES (?, ?, ?)", (stream, name, stamp))

    def forget_watched(self, stream: str, names: Iterable[str]) -> None:
        """Remove the records of deleted files."""
        self._database.executemany(
            "DELETE FROM watched WHERE stream = ? AND name = ?", [(stream, name) for name in names]
        )


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        # Write-ahead log: one append per transaction, and readers are not blocked.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        database.execute(f"PRAGMA wal_autocheckpoint = {_WAL_LIMIT_BYTES // _PAGE_BYTES}")
        (check,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if check != "ok":
            raise sqlite3.DatabaseError(str(check))
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"its version is {version}, this program reads {_SCHEMA_VERSION}")
        database.executescript(_SCHEMA)
        if "used_retries" not in {column for _, column, *_ in database.execute("PRAGMA table_info(requests)")}:
            # A journal of an earlier release.
            database.execute("ALTER TABLE requests ADD COLUMN used_retries INTEGER NOT NULL DEFAULT 0")
        database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _continue_clock(database: sqlite3.Connection) -> ClockBase:
    row = database.execute("SELECT boot, ahead_s FROM clock").fetchone()
    (newest_s,) = database.execute(
        "SELECT MAX(at_s) FROM (SELECT MAX(accepted_at_s) AS at_s FROM requests UNION ALL"
        " SELECT MAX(finished_at_s) FROM outcomes)"
    ).fetchone()
    stored = None if row is None else ClockBase(*row)
    clock = continued(stored, read_boot_id(), time.monotonic(), time.time(), newest_s or 0.0)
    if clock != stored:
        database.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (clock.boot, clock.ahead_s))
    return clock


def _set_aside(path: Path, reason: str) -> None:
    aside = move_aside(path)
    _LOGGER.error("the journal %s is damaged (%s): moved to %s, beginning a new one", path, reason, aside.name)


def pack_request(request: Request) -> bytes:
    """Return a request as the journal stores it."""
    packed: bytes = msgpack.packb(
        {
            "request_id": request.request_id,
            "size_bytes": request.size_bytes,
            "accepted_at_s": request.accepted_at_s,
            "accept": request.accept,
            "response_topic": request.response_topic,
            "correlation_data": request.correlation_data,
            "traceparent": request.traceparent,
            # Left out where it is not set, so that an earlier release can read the journal.
            **({} if request.lifetime_s is None else {"lifetime_s": request.lifetime_s}),
        }
    )
    return packed


def _unpack(packed: bytes) -> Request:
    return Request(**msgpack.unpackb(packed))
