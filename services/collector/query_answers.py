"""What is asked of a collector's database, and what it answers. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.messages.events import Reroute


@dataclass(frozen=True, slots=True)
class Window:
    """Which outcomes a question is about; everything by default.

    Attributes:
        stream: one stream; none for all.
        epoch: of the plan they ran on; none for all.
        since_s: completed at or after this wall clock.
        until_s: completed before it.
    """

    stream: str | None = None
    epoch: int | None = None
    since_s: float = -math.inf
    until_s: float = math.inf

    def condition(self) -> tuple[str, list[Any]]:
        """Return the window as an SQL condition on `outcomes` and its values."""
        clauses = ["completed_at_s >= ?", "completed_at_s < ?"]
        parameters: list[Any] = [self.since_s, self.until_s]
        for column, value in (("stream", self.stream), ("epoch", self.epoch)):
            if value is not None:
                clauses.append(f"{column} = ?")
                parameters.append(value)
        return " AND ".join(clauses), parameters


EVERYTHING = Window()


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of requests, since the database began.

    Attributes:
        requests: known ones: with an outcome, or seen on the way.
        results: outcomes that are results.
        errors: outcomes that are errors.
        duplicates: outcomes of requests that had one already, computed a second time.
        redelivered: outcomes that came again unchanged.
        late: errors behind a result, and results behind an error; the first stays.
        lost: requests that were seen and have no outcome: those under way included, so ask when all is quiet. Only
            collectors that watch requests know of them.
    """

    requests: int = 0
    results: int = 0
    errors: int = 0
    duplicates: int = 0
    redelivered: int = 0
    late: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class LatencyPercentiles:
    """Latencies of results in milliseconds; percentiles by nearest rank, none without results.

    Attributes:
        count: results.
        mean_ms: their mean.
        p50_ms: their median.
        p95_ms: what 95 in 100 stay below or reach.
        p99_ms: what 99 in 100 stay below or reach.
        min_ms: the fastest.
        max_ms: the slowest.
    """

    count: int = 0
    mean_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of the same results, measured from two moments.

    Attributes:
        accepted: from acceptance at the source to completion: waiting for a turn included.
        dispatched: from the last dispatch to completion: the route alone.
    """

    accepted: LatencyPercentiles
    dispatched: LatencyPercentiles


@dataclass(frozen=True, slots=True)
class MeasuredReroute:
    """A reroute, and what came of it.

    Attributes:
        reroute: what the planner said.
        before: route latency of the last results of earlier epochs.
        after: route latency of the first results of the new epoch.
        first_dispatch_s: when the first request went out on the new route, wall clock of the source; none if none has.
        reaction_ms: from the message that caused the reroute to that dispatch.
    """

    reroute: Reroute
    before: LatencyPercentiles
    after: LatencyPercentiles
    first_dispatch_s: float | None
    reaction_ms: float | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event; `data` as its sender gave it."""

    kind: str
    at_s: float
    origin: str
    text: str
    stream: str | None
    device: str | None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkSummary:
    """The newest estimate of a link."""

    target: str
    bandwidth_mbps: float
    latency_ms: float
    sent_at_s: float


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """What is known of a device now.

    Attributes:
        online: by its executor's presence.
        changed_at_s: when that last changed, wall clock of the collector.
        load_factor: from the newest telemetry; none before the first.
        sent_at_s: of that telemetry.
        links: that leave it.
    """

    device: str
    online: bool
    version: str
    changed_at_s: float
    load_factor: float | None = None
    cpu_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    sent_at_s: float | None = None
    links: tuple[LinkSummary, ...] = ()


@dataclass(frozen=True, slots=True)
class MemberState:
    """A service's presence."""

    role: str
    name: str
    online: bool
    version: str
    changed_at_s: float


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where time went on one stage: medians over its requests.

    Attributes:
        transfer_ms: from the beginning of the transfer to the next device until it had arrived, by two devices' clocks;
            none if nothing was sent on.
        codec: of what was sent on.
    """

    device: str
    start: int
    stop: int
    codec: str
    requests: int
    queue_ms: float
    compute_ms: float
    transfer_ms: float | None
    output_bytes: float


def summarise(latencies_ms: Iterable[float]) -> LatencyPercentiles:
    """Sum up latencies."""
    ordered = sorted(latencies_ms)
    if not ordered:
        return LatencyPercentiles()
    return LatencyPercentiles(
        count=len(ordered),
        mean_ms=math.fsum(ordered) / len(ordered),
        p50_ms=percentile(ordered, 50),
        p95_ms=percentile(ordered, 95),
        p99_ms=percentile(ordered, 99),
        min_ms=ordered[0],
        max_ms=ordered[-1],
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `percent` in 100 do not exceed.

    Args:
        ordered: values in ascending order, at least one.
        percent: within (0, 100].
    """
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
