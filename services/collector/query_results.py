"""Values that the collector's queries take and return, and percentiles of latencies."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.messages.events import Reroute


@dataclass(frozen=True, slots=True)
class Window:
    """Restricts a query to some outcomes; all of them by default.

    Attributes:
        stream: one stream; none for all.
        epoch: epoch of the plan that the requests ran on; none for all.
        since_s: earliest completion, wall clock in seconds.
        until_s: end of the window, exclusive.
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


EVERYTHING: Final = Window()


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Numbers of requests by their outcome, since the database was made.

    Attributes:
        requests: requests with an outcome, and watched requests without one.
        results: outcomes that are results.
        errors: outcomes that are errors.
        duplicates: outcomes of requests that were computed a second time.
        redelivered: outcomes received again unchanged.
        late: errors after a result, and results after an error; the first stays.
        lost: watched requests without an outcome. Those under way count too, so the number is final only once all
            streams are idle. It is 0 if the collector does not watch requests.
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
    """Summary of latencies in milliseconds; percentiles by nearest rank, none without results.

    Attributes:
        count: number of results.
        mean_ms: arithmetic mean.
        p50_ms: median.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        min_ms: shortest latency.
        max_ms: longest latency.
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
    """Latencies of the same results, measured from two moments.

    Attributes:
        accepted: from acceptance at the source to completion; includes the wait in the source's queue.
        dispatched: from the last dispatch to completion; the route alone.
    """

    accepted: LatencyPercentiles
    dispatched: LatencyPercentiles


@dataclass(frozen=True, slots=True)
class MeasuredReroute:
    """A reroute and its measured effect.

    Attributes:
        reroute: as the planner published it.
        before: route latencies of the last results of earlier epochs.
        after: route latencies of the first results of the new epoch.
        first_dispatch_s: first dispatch on the new route, wall clock of the source; none before it.
        reaction_ms: from the message that caused the reroute to that dispatch.
    """

    reroute: Reroute
    before: LatencyPercentiles
    after: LatencyPercentiles
    first_dispatch_s: float | None
    reaction_ms: float | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A stored event; `data` is as its sender wrote it."""

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
    transport: str


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """Present state of a device.

    Attributes:
        online: whether its executor is present.
        changed_at_s: last change of the presence, wall clock of the collector.
        load_factor: from the newest telemetry; none before the first.
        sent_at_s: time of that telemetry, wall clock of the device.
        links: links from this device to others.
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
    """Presence of a service."""

    role: str
    name: str
    online: bool
    version: str
    changed_at_s: float


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Times of one stage: medians over its requests.

    Attributes:
        start: first block of the segment.
        stop: end of the segment, exclusive.
        codec: of the feature maps sent to the next stage.
        transport: what carried them; none for the last stage.
        transfer_ms: from the start of the transfer, by this device's clock, to its arrival, by the next device's clock;
            none for the last stage.
    """

    device: str
    start: int
    stop: int
    codec: str
    transport: str | None
    requests: int
    queue_ms: float
    compute_ms: float
    transfer_ms: float | None
    output_bytes: float


def summarise_latencies(latencies_ms: Iterable[float]) -> LatencyPercentiles:
    """Summarise latencies given in any order."""
    ordered = sorted(latencies_ms)
    if not ordered:
        return LatencyPercentiles()
    return LatencyPercentiles(
        count=len(ordered),
        mean_ms=math.fsum(ordered) / len(ordered),
        p50_ms=nearest_rank_percentile(ordered, 50),
        p95_ms=nearest_rank_percentile(ordered, 95),
        p99_ms=nearest_rank_percentile(ordered, 99),
        min_ms=ordered[0],
        max_ms=ordered[-1],
    )


def nearest_rank_percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `percent` % of the values do not exceed.

    Args:
        ordered: values in ascending order, at least one.
        percent: within (0, 100].
    """
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
