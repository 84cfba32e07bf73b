"""Documents on disk, in SQLite: streams, policies, epochs, plans, models, encodings and shadow records."""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shared.data_directory import move_aside
from shared.sqlite_log import begin_log_again, bound_log

_LOGGER = logging.getLogger(__name__)

_FILE = "planner.db"
_LOCK_TIMEOUT_S = 5.0
_CHECKPOINT_BYTES = 4 * 1024 * 1024


class Kind(StrEnum):
    """Kind of a document."""

    STREAM = "stream"
    POLICY = "policy"
    EPOCH = "epoch"
    PLAN = "plan"
    MANIFEST = "manifest"
    VERSION = "version"
    CALIBRATION = "calibration"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Document:
    """A document, unique by kind and key."""

    kind: Kind
    key: str
    value: bytes


class PlannerStore:
    """Documents by kind and key. Every call is one transaction; it blocks, and may come from any thread.

    A call that raises `sqlite3.OperationalError` has changed nothing, and may be repeated.

    A call that has returned survives SIGKILL and power loss (write-ahead log, synchronous FULL). A damaged file is
    moved aside, and the planner starts with an empty database. It then restores plans and epochs from retained
    messages.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make the database in `folder`.

        Raises:
            OSError: the folder cannot be written, or another planner uses it.
            sqlite3.OperationalError: the disk refuses.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        path = folder / _FILE
        try:
            self._database = _open(path)
        except sqlite3.OperationalError:
            # A subclass of DatabaseError, but the file is not to blame: it must not be moved aside.
            raise
        except sqlite3.DatabaseError as error:
            aside = move_aside(path)
            _LOGGER.error(
                "%s is damaged (%s); it is kept as %s and the planner starts with an empty one", path, error, aside.name
            )
            self._database = _open(path)

    def put(self, document: Document) -> None:
        """Write a document. It counts as the newest, even if it replaces an older one."""
        with self._change():
            # Deleted first, so that the row gets a new number: `documents` returns manifests of one name newest last.
            self._delete(document.kind, document.key)
            self._database.execute(
                "INSERT INTO documents (kind, key, value) VALUES (?, ?, ?)",
                (document.kind.value, document.key, document.value),
            )

    def delete(self, kind: Kind, key: str) -> None:
        """Remove a document if it is there."""
        with self._change():
            self._delete(kind, key)

    def documents(self) -> tuple[Document, ...]:
        """Return every document, oldest first."""
        with self._lock:
            rows = self._database.execute("SELECT kind, key, value FROM documents ORDER BY number").fetchall()
        return tuple(Document(Kind(kind), key, value) for kind, key, value in rows)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._lock:
            try:
                with self._database:
                    yield
            except sqlite3.OperationalError:
                begin_log_again(self._database)
                raise

    def _delete(self, kind: Kind, key: str) -> None:
        self._database.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind.value, key))


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, check_same_thread=False)
    try:
        # Held until `close`: a second planner on the same folder fails here instead of giving out the same epochs.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        # An epoch that was given out must survive power loss, or it would be given out again.
        database.execute("PRAGMA synchronous = FULL")
        bound_log(database, path.parent, _CHECKPOINT_BYTES)
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS documents (number INTEGER PRIMARY KEY AUTOINCREMENT, "
                "kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (kind, key))"
            )
        (result,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise sqlite3.DatabaseError(result)
    except sqlite3.OperationalError as error:
        database.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise OSError(f"cannot use {path}, does another planner? {error}") from error
        raise
    except BaseException:
        database.close()
        raise
    return database
