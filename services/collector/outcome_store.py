"""The collector's SQLite store: each outcome once, bounded in size, durable against SIGKILL and power cuts."""

import contextlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, assert_never

from services.collector.errors import StoreUnavailable
from services.collector.inbound import Record, RequestSeen, RerouteSeen
from services.collector.schema import open_for_writing
from shared.data_directory import move_aside
from shared.messages.devices import Links, Presence, ServicePresence, Telemetry
from shared.messages.events import Event
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan
from shared.sqlite_log import begin_log_again
from shared.steady_clock import SteadyClock

_LOGGER = logging.getLogger(__name__)

# Longest texts of messages that are stored, in characters. Longer error texts and labels are truncated.
_MAX_TEXT: Final = 4000
_MAX_DATA: Final = 64 * 1024
# CollectorRecords between two prunings. More than that accumulate only between prunings.
_PRUNE_EVERY: Final = 2000
# Bounds the time of one pruning, and with it the wait of the next batch.
_PRUNED_AT_ONCE: Final = 20_000

# Role of devices in the table of members, beside the roles of services.
DEVICE_ROLE: Final = "executor"


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of the database. The oldest rows are deleted first; totals are never deleted.

    Attributes:
        outcomes: rows of outcomes, each with its trace.
        samples: rows of telemetry, and as many of links.
        events: rows of events, and as many of reroutes, of plans, and of requests without an outcome.
        age_s: greatest age of any row.
    """

    outcomes: int = 500_000
    samples: int = 100_000
    events: int = 100_000
    age_s: float = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """A record and its time of receipt, wall clock of the collector."""

    record: Record
    received_at_s: float


class WriteResult(StrEnum):
    """Result of storing a record. The values of outcomes are the names of the totals."""

    STORED = "stored"
    """The record is no outcome, and is stored."""
    RESULT = "results"
    ERROR = "errors"
    REDELIVERED = "redelivered"
    """The same outcome is stored already: the broker or the source sent it again."""
    DUPLICATE = "duplicates"
    """The request was computed twice; the first outcome stays."""
    LATE_ERROR = "late_errors"
    """An error after a result; the result stays."""
    LATE_RESULT = "late_results"
    """A result after an error; the error stays."""
    REFUSED = "refused"
    """The record does not fit into the database, for example because of a number beyond 64 bits."""


class OutcomeStore:
    """The open database. All methods block; one thread uses them.

    Invariants:
        - A request (stream and id) has one outcome at most: the first one stays, later ones are only counted.
        - `write` is one transaction. Once it returns, its records survive SIGKILL and a power cut.
        - `totals` counts every outcome ever received, including those whose rows were pruned.
    """

    def __init__(self, path: Path, limits: StoreLimits | None = None) -> None:
        """Open or make a database; a damaged one is moved aside.

        Args:
            path: of the database file.
            limits: none for the defaults.

        Raises:
            StoreUnavailable: the database cannot be opened.
        """
        self.path = path
        self._limits = limits or StoreLimits()
        self._since_pruned = 0
        self._clock = SteadyClock()
        try:
            self._database = open_for_writing(path)
        except sqlite3.DatabaseError as error:
            _set_aside(path, str(error))
            self._database = open_for_writing(path)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def write(self, batch: Sequence[ReceivedRecord]) -> tuple[WriteResult, ...]:
        """Store a batch in one transaction; on return it is on disk.

        Returns:
            One result for each record, in the same order.

        Raises:
            StoreUnavailable: no record of the batch is stored; the caller may try again.
        """
        try:
            return self._write(batch)
        except sqlite3.OperationalError as error:
            begin_log_again(self._database)
            raise StoreUnavailable(f"the database {self.path} cannot be written: {error}") from error
        except sqlite3.DatabaseError as error:
            # A damaged file raises DatabaseError itself. Its subclasses report faults of the statement or the values.
            if type(error) is not sqlite3.DatabaseError:
                raise
            self._database.close()
            _set_aside(self.path, str(error))
            self._database = open_for_writing(self.path)
            raise StoreUnavailable(f"the database {self.path} was damaged and replaced by a new one") from error

    def prune(self, now_at_s: float) -> int:
        """Delete rows beyond the limits, a bounded number at a time; return the number of deleted rows.

        Args:
            now_at_s: present time, wall clock.
        """
        limits, deleted = self._limits, 0
        bounds = {"outcomes": limits.outcomes, "telemetry": limits.samples, "links": limits.samples}
        bounds |= dict.fromkeys(("events", "reroutes", "plans", "requests"), limits.events)
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for table, rows in bounds.items():
                deleted += self._prune_table(table, rows, now_at_s - limits.age_s)
            # A trace belongs to its outcome, and outcomes are deleted from the lowest position up.
            self._database.execute(
                "DELETE FROM stages WHERE outcome < (SELECT COALESCE(MIN(position), 1 << 62) FROM outcomes)"
            )
            self._database.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return deleted

    def _roll_back(self) -> None:
        # SQLite itself rolls back after some errors (a full disk, for example), and then refuses another ROLLBACK.
        with contextlib.suppress(sqlite3.Error):
            self._database.execute("ROLLBACK")

    def _prune_table(self, table: str, rows: int, oldest_at_s: float) -> int:
        """Delete a table's oldest rows.

        Positions only grow (AUTOINCREMENT), so the difference of two positions bounds the rows between them. So the
        table need not be counted.
        """
        cursor = self._database.execute(
            f"""DELETE FROM {table} WHERE position IN (
                    SELECT position FROM {table} ORDER BY position LIMIT {_PRUNED_AT_ONCE})
                AND (position <= (SELECT MAX(position) FROM {table}) - ? OR received_at_s < ?)""",
            (rows, oldest_at_s),
        )
        return cursor.rowcount

    def _write(self, batch: Sequence[ReceivedRecord]) -> tuple[WriteResult, ...]:
        # IMMEDIATE takes the write lock at the start: a busy database fails here, before anything is computed.
        self._database.execute("BEGIN IMMEDIATE")
        try:
            results = tuple(self._put_safely(arrival) for arrival in batch)
            self._database.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._since_pruned += len(batch)
        if self._since_pruned >= _PRUNE_EVERY:
            self._since_pruned = 0
            # The batch is on disk: a failure to prune must not make the caller store it again.
            try:
                # Not the wall clock alone: set forward by a year, it would delete everything.
                self.prune(min(batch[-1].received_at_s, self._clock.now_s()))
            except sqlite3.OperationalError as error:
                _LOGGER.warning("the database %s could not be pruned: %s", self.path, error)
        return results

    def _put_safely(self, arrival: ReceivedRecord) -> WriteResult:
        """Store one record whole, or leave it out and keep the rest of the batch."""
        self._database.execute("SAVEPOINT record")
        try:
            result = self._put(arrival.record, arrival.received_at_s)
        except (
            OverflowError,
            ValueError,
            TypeError,
            RecursionError,
            sqlite3.IntegrityError,
            sqlite3.ProgrammingError,
        ) as error:
            _LOGGER.warning("a %s does not fit into the database: %s", type(arrival.record).__name__, error)
            self._database.execute("ROLLBACK TO record")
            result = WriteResult.REFUSED
        self._database.execute("RELEASE record")
        return result

    def _put(self, record: Record, received_at_s: float) -> WriteResult:
        match record:
            case Outcome():
                return self._put_outcome(record, received_at_s)
            case Event():
                self._put_event(record, received_at_s)
            case RerouteSeen(event, reroute):
                self._put_event(event, received_at_s)
                self._insert(
                    "reroutes",
                    stream=reroute.stream,
                    epoch=reroute.epoch,
                    cause=reroute.cause,
                    committed_at_s=reroute.committed_at_s,
                    document=reroute.model_dump_json(),
                    received_at_s=received_at_s,
                )
            case CommittedPlan():
                self._insert(
                    "plans",
                    stream=record.stream,
                    epoch=record.epoch,
                    committed_at_s=record.committed_at_s,
                    document=record.model_dump_json(),
                    received_at_s=received_at_s,
                )
            case Telemetry():
                values = record.model_dump(exclude={"schema_version"})
                self._insert("telemetry", received_at_s=received_at_s, **values)
            case Links():
                for link in record.links:
                    values = link.model_dump()
                    times = {"sent_at_s": record.sent_at_s, "received_at_s": received_at_s}
                    self._insert("links", device=record.device, **times, **values)
            case Presence():
                self._put_member(DEVICE_ROLE, record.device, record, received_at_s)
            case ServicePresence():
                self._put_member(record.role, record.name, record, received_at_s)
            case RequestSeen(stream, request_id):
                self._put_request(stream, request_id, received_at_s)
            case _:
                assert_never(record)
        return WriteResult.STORED

    def _put_outcome(self, outcome: Outcome, received_at_s: float) -> WriteResult:
        # Only one transaction writes at a time, so no other outcome can come between look-up and insert.
        known = self._database.execute(
            "SELECT status, attempt, completed_at_s FROM outcomes WHERE stream = ? AND request_id = ?",
            (outcome.stream, outcome.request_id),
        ).fetchone()
        if known is None:
            self._insert_outcome(outcome, received_at_s)
            result = WriteResult.RESULT if outcome.status is OutcomeStatus.OK else WriteResult.ERROR
        # Attempt and completion time identify one computation of a request.
        elif known == (outcome.status, outcome.attempt, outcome.completed_at_s):
            result = WriteResult.REDELIVERED
        elif known[0] == outcome.status:
            result = WriteResult.DUPLICATE
        else:
            result = WriteResult.LATE_ERROR if outcome.status is OutcomeStatus.ERROR else WriteResult.LATE_RESULT
        self._database.execute(
            "INSERT INTO totals VALUES (?, ?, 1) ON CONFLICT (stream, name) DO UPDATE SET value = value + 1",
            (outcome.stream, result),
        )
        return result

    def _insert_outcome(self, outcome: Outcome, received_at_s: float) -> None:
        best = outcome.top[0] if outcome.top else None
        position = self._insert(
            "outcomes",
            **outcome.model_dump(
                include={"stream", "request_id", "status", "model", "epoch", "attempt", "cause", "input_bytes"}
            ),
            error=outcome.error[:_MAX_TEXT],
            label=best.label[:_MAX_TEXT] if best else None,
            score=best.score if best else None,
            accepted_at_s=outcome.accepted_at_s,
            dispatched_at_s=outcome.dispatched_at_s,
            completed_at_s=outcome.completed_at_s,
            received_at_s=received_at_s,
        )
        for number, stage in enumerate(outcome.trace):
            top_row, bottom_row = stage.rows or (None, None)
            values = stage.model_dump(exclude={"rows"})
            self._insert("stages", outcome=position, stage=number, top_row=top_row, bottom_row=bottom_row, **values)
        # The request has its outcome, so it does not count as lost.
        self._database.execute(
            "DELETE FROM requests WHERE stream = ? AND request_id = ?", (outcome.stream, outcome.request_id)
        )

    def _put_request(self, stream: str, request_id: str, received_at_s: float) -> None:
        """Store a request until its outcome arrives, unless the outcome arrived first."""
        self._database.execute(
            """INSERT OR IGNORE INTO requests (stream, request_id, received_at_s) SELECT ?, ?, ?
               WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE stream = ? AND request_id = ?)""",
            (stream, request_id, received_at_s, stream, request_id),
        )

    def _put_event(self, event: Event, received_at_s: float) -> None:
        data = json.dumps(event.data, default=repr)
        self._insert(
            "events",
            kind=event.kind,
            at_s=event.at_s,
            origin=event.origin,
            text=event.text[:_MAX_TEXT],
            stream=event.stream,
            device=event.device,
            data=data if len(data) <= _MAX_DATA else "{}",
            received_at_s=received_at_s,
        )

    def _put_member(self, role: str, name: str, member: Presence | ServicePresence, received_at_s: float) -> None:
        # A repeated presence keeps its time of change. Some presences lack a version: a will, or a cleared one.
        self._database.execute(
            """INSERT INTO members VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (role, name) DO UPDATE SET
               changed_at_s = IIF(state = excluded.state AND boot_id = excluded.boot_id,
                                  changed_at_s, excluded.changed_at_s),
               state = excluded.state,
               version = IIF(excluded.version = '', version, excluded.version),
               boot_id = excluded.boot_id""",
            (role, name, member.state, member.version, member.boot_id, received_at_s),
        )

    def _insert(self, table: str, /, **values: Any) -> int:
        """Insert a row unless it exists; return its position.

        The statement is built from names, so tables and columns must be constants of this package.
        """
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        cursor = self._database.execute(
            f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", tuple(values.values())
        )
        return cursor.lastrowid or 0


def _set_aside(path: Path, reason: str) -> None:
    aside = move_aside(path)
    _LOGGER.error("the database %s is damaged (%s); it was moved to %s and replaced by a new one", path, reason, aside)
