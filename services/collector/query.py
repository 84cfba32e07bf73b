"""Read-only queries to a collector's database. They block."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

from services.collector.query_results import (
    EVERYTHING,
    DeviceSummary,
    Latencies,
    LinkSummary,
    MeasuredReroute,
    MemberState,
    OutcomeCounts,
    StageTimes,
    StoredEvent,
    Window,
    nearest_rank_percentile,
    summarise_latencies,
)
from services.collector.schema import open_for_reading
from shared.messages.events import Reroute

# SQLite limits the parameters of one statement.
_CHUNK: Final = 500
# Reroutes whose times differ by less were committed by one clock.
_SAME_CLOCK_S: Final = 1000.0


class CollectorRecords:
    """An open database, for the thread that opened it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Wrap a database opened for reading."""
        self._database = database

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open the database of a collector, which may be running.

        Args:
            path: `CollectorConfig.database`.

        Raises:
            NoRecords: it does not exist, or is unreadable.
        """
        database = open_for_reading(path)
        try:
            yield cls(database)
        finally:
            database.close()

    def streams(self) -> tuple[str, ...]:
        """Return the names of all streams with outcomes, requests or plans, in order."""
        union = " UNION ".join(f"SELECT stream FROM {table}" for table in ("totals", "requests", "plans"))
        return tuple(stream for (stream,) in self._rows(f"{union} ORDER BY 1"))

    def counts(self, stream: str | None = None) -> OutcomeCounts:
        """Count requests by their outcome, of one stream or of all."""
        condition, values = ("stream = ?", (stream,)) if stream is not None else ("1", ())
        totals = dict(self._rows(f"SELECT name, SUM(value) FROM totals WHERE {condition} GROUP BY name", values))
        ((lost,),) = self._rows(f"SELECT COUNT(*) FROM requests WHERE {condition}", values)
        results, errors = totals.get("results", 0), totals.get("errors", 0)
        return OutcomeCounts(
            requests=results + errors + lost,
            results=results,
            errors=errors,
            duplicates=totals.get("duplicates", 0),
            redelivered=totals.get("redelivered", 0),
            late=totals.get("late_errors", 0) + totals.get("late_results", 0),
            lost=lost,
        )

    def missing(self, stream: str, request_ids: Iterable[str]) -> tuple[str, ...]:
        """Return the given requests without a stored outcome, in the given order and each once."""
        unique_ids = list(dict.fromkeys(request_ids))
        known: set[str] = set()
        for begin in range(0, len(unique_ids), _CHUNK):
            chunk = unique_ids[begin : begin + _CHUNK]
            marks = ", ".join("?" * len(chunk))
            statement = f"SELECT request_id FROM outcomes WHERE stream = ? AND request_id IN ({marks})"
            known.update(request_id for (request_id,) in self._rows(statement, (stream, *chunk)))
        return tuple(request_id for request_id in unique_ids if request_id not in known)

    def latencies(self, window: Window = EVERYTHING) -> Latencies:
        """Summarise the latencies of a window's results, in milliseconds."""
        return Latencies(
            accepted=summarise_latencies(self._latencies_ms("accepted_at_s", window)),
            dispatched=summarise_latencies(self._latencies_ms("dispatched_at_s", window)),
        )

    def reroutes(
        self, stream: str | None = None, *, limit: int = 100, before_count: int = 5, after_count: int = 20
    ) -> tuple[MeasuredReroute, ...]:
        """Return the newest reroutes with the latencies before and after them, oldest first.

        Args:
            stream: one stream; none for all.
            limit: largest number of reroutes.
            before_count: largest number of results measured before each.
            after_count: largest number of results measured after each.
        """
        condition, values = ("stream = ?", [stream]) if stream is not None else ("1", [])
        statement = f"SELECT document FROM reroutes WHERE {condition} ORDER BY position DESC LIMIT ?"
        documents = [document for (document,) in self._rows(statement, [*values, limit])]
        reroutes = (Reroute.model_validate_json(document) for document in reversed(documents))
        return tuple(self._measure(reroute, before_count, after_count) for reroute in reroutes)

    def events(
        self, *, limit: int = 100, kind: str | None = None, stream: str | None = None
    ) -> tuple[StoredEvent, ...]:
        """Return at most `limit` events, the newest first."""
        clauses: list[str] = ["1"]
        values: list[Any] = []
        for column, value in (("kind", kind), ("stream", stream)):
            if value is not None:
                clauses.append(f"{column} = ?")
                values.append(value)
        statement = f"""SELECT kind, at_s, origin, text, stream, device, data FROM events
                        WHERE {" AND ".join(clauses)} ORDER BY position DESC LIMIT ?"""
        return tuple(
            StoredEvent(kind, at_s, origin, text, of_stream, device, json.loads(data))
            for kind, at_s, origin, text, of_stream, device, data in self._rows(statement, [*values, limit])
        )

    def devices(self) -> tuple[DeviceSummary, ...]:
        """Return every device whose presence was ever received, by name."""
        statement = """SELECT m.name, m.state = 'online', m.version, m.changed_at_s, t.load_factor, t.cpu_percent,
                t.memory_used_bytes, t.memory_total_bytes, t.temperature_c, t.power_w, t.sent_at_s
            FROM members m LEFT JOIN telemetry t ON t.position =
                (SELECT MAX(position) FROM telemetry WHERE device = m.name)
            WHERE m.role = 'executor' ORDER BY m.name"""
        return tuple(self._device(*row) for row in self._rows(statement))

    def services(self) -> tuple[MemberState, ...]:
        """Return every planner, collector and monitor whose presence was ever received."""
        statement = """SELECT role, name, state = 'online', version, changed_at_s FROM members
                       WHERE role != 'executor' ORDER BY role, name"""
        return tuple(MemberState(role, name, bool(on), *rest) for role, name, on, *rest in self._rows(statement))

    def stages(self, window: Window = EVERYTHING, *, limit: int = 1000) -> tuple[StageTimes, ...]:
        """Return the times of the newest results, by stage in the order of their blocks.

        Args:
            window: restricts the results.
            limit: largest number of results.
        """
        condition, values = window.condition()
        # A transfer ends when the next stage has received it, so each stage is joined with its successor `n`. Tiles
        # have several, and are several.
        statement = f"""SELECT s.device, s.start, s.stop, s.codec, s.transport, s.queue_ms, s.compute_ms,
                s.output_bytes, 1000 * (n.received_at_s - s.sent_at_s)
            FROM (SELECT position FROM outcomes WHERE status = 'ok' AND {condition}
                  ORDER BY completed_at_s DESC LIMIT ?) o
            JOIN stages s ON s.outcome = o.position
            LEFT JOIN stages n ON n.outcome = s.outcome AND n.stage = s.stage + 1
                AND n.top_row IS NULL AND s.top_row IS NULL"""
        groups: dict[tuple[str, int, int, str, str | None], list[tuple[Any, ...]]] = {}
        for device, start, stop, codec, transport, *times in self._rows(statement, [*values, limit]):
            groups.setdefault((device, start, stop, codec, transport), []).append(tuple(times))
        ordered = sorted(groups.items(), key=lambda item: (item[0][1], *map(str, item[0])))
        return tuple(_stage_times(key, rows) for key, rows in ordered)

    def _latencies_ms(self, begin: str, window: Window) -> list[float]:
        condition, values = window.condition()
        statement = f"""SELECT 1000 * (completed_at_s - {begin}) FROM outcomes
                        WHERE status = 'ok' AND {begin} > 0 AND {condition}"""
        return [latency_ms for (latency_ms,) in self._rows(statement, values)]

    def _measure(self, reroute: Reroute, before_count: int, after_count: int) -> MeasuredReroute:
        stream, epoch = reroute.stream, reroute.epoch
        behind_s = self._planner_behind_s(reroute)
        trigger_s, committed_s = reroute.trigger_at_s + behind_s, reroute.committed_at_s + behind_s
        # A planner that lost its disk counts epochs from the start again. Results before the trigger may thus have the
        # epoch of this reroute, and are left out.
        ((first_s,),) = self._rows(
            "SELECT MIN(dispatched_at_s) FROM outcomes WHERE stream = ? AND epoch = ? AND dispatched_at_s >= ?",
            (stream, epoch, trigger_s),
        )
        begin_s = committed_s if first_s is None else max(first_s, trigger_s)
        # The last results of older epochs that were dispatched before the first request on the new route.
        latency = "1000 * (completed_at_s - dispatched_at_s) FROM outcomes WHERE status = 'ok' AND stream = ?"
        before = self._rows(
            f"SELECT {latency} AND epoch < ? AND dispatched_at_s BETWEEN 1 AND ? ORDER BY completed_at_s DESC LIMIT ?",
            (stream, epoch, begin_s, before_count),
        )
        after = self._rows(
            f"SELECT {latency} AND epoch = ? AND dispatched_at_s >= ? ORDER BY dispatched_at_s LIMIT ?",
            (stream, epoch, trigger_s, after_count),
        )
        return MeasuredReroute(
            reroute,
            before=summarise_latencies([latency_ms for (latency_ms,) in before]),
            after=summarise_latencies([latency_ms for (latency_ms,) in after]),
            first_dispatch_s=first_s,
            reaction_ms=None if first_s is None else 1000 * (first_s - trigger_s),
        )

    def _planner_behind_s(self, reroute: Reroute) -> float:
        """Return how far the planner's clock is behind that of the stream's source.

        Both sent messages to this collector at the time. The least difference between arrival and sending is the offset
        of the sender's clock plus the shortest time on the way, which is a few milliseconds for both.
        """
        ((of_source_s,),) = self._rows(
            f"""SELECT MIN(received_at_s - completed_at_s) FROM (SELECT received_at_s, completed_at_s FROM outcomes
                WHERE stream = ? AND epoch BETWEEN ? AND ? ORDER BY position DESC LIMIT {_CHUNK})""",
            (reroute.stream, reroute.epoch - 1, reroute.epoch),
        )
        ((of_planner_s,),) = self._rows(
            f"""SELECT MIN(received_at_s - committed_at_s) FROM (SELECT received_at_s, committed_at_s FROM reroutes
                WHERE ABS(committed_at_s - ?) < {_SAME_CLOCK_S} ORDER BY position DESC LIMIT {_CHUNK})""",
            (reroute.committed_at_s,),
        )
        return 0.0 if of_source_s is None or of_planner_s is None else float(of_planner_s - of_source_s)

    def _device(self, name: str, online: int, *rest: Any) -> DeviceSummary:
        telemetry = (
            "load_factor",
            "cpu_percent",
            "memory_used_bytes",
            "memory_total_bytes",
            "temperature_c",
            "power_w",
        )
        values = dict(zip(("version", "changed_at_s", *telemetry, "sent_at_s"), rest, strict=True))
        return DeviceSummary(name, bool(online), links=self._links(name), **values)

    def _links(self, device: str) -> tuple[LinkSummary, ...]:
        """Return the links in the newest message of the device's monitor."""
        # All links of one message have the same time of sending; a target may appear twice, and its last row counts.
        statement = """SELECT target, bandwidth_mbps, latency_ms, sent_at_s, COALESCE(transport, 'mqtt') FROM links
            WHERE device = ? AND sent_at_s = (SELECT sent_at_s FROM links WHERE position =
                (SELECT MAX(position) FROM links WHERE device = ?)) ORDER BY target, position"""
        links = (LinkSummary(*row) for row in self._rows(statement, (device, device)))
        return tuple({(link.target, link.transport): link for link in links}.values())

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._database.execute(statement, values).fetchall()


def _stage_times(key: tuple[str, int, int, str, str | None], rows: Sequence[tuple[Any, ...]]) -> StageTimes:
    queue_ms, compute_ms, output_bytes, transfer_ms = (
        sorted(value for value in column if value is not None) for column in zip(*rows, strict=True)
    )
    return StageTimes(
        *key,
        requests=len(rows),
        queue_ms=nearest_rank_percentile(queue_ms, 50),
        compute_ms=nearest_rank_percentile(compute_ms, 50),
        transfer_ms=nearest_rank_percentile(transfer_ms, 50) if transfer_ms else None,
        output_bytes=nearest_rank_percentile(output_bytes, 50),
    )
