"""Table of a block's times by rows, from measured times of its tiles."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.row_times import RowTimes

# Shares of a block's rows for which it is measured, beside a single row. Between them time is nearly linear.
_SHARES: Final = (8, 4, 2)
# Median absolute deviation to standard deviation of normal noise, and that to the standard error of a median.
_MEDIAN_ERROR: Final = 1.4826 * 1.2533
# Least standard error, relative to the median: few runs can agree by chance.
_LEAST_ERROR: Final = 0.02
# Differences of so many standard errors are more than noise.
_SIGNIFICANT: Final = 2.0


@dataclass(frozen=True, slots=True)
class RunTime:
    """Time of repeated runs, in ms.

    Attributes:
        median_ms: their median.
        error_ms: its standard error.
    """

    median_ms: float
    error_ms: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> "RunTime":
        """Return the time of at least one run."""
        median_ms = statistics.median(times_ms)
        deviation_ms = statistics.median(abs(time_ms - median_ms) for time_ms in times_ms)
        error_ms = _MEDIAN_ERROR * deviation_ms / math.sqrt(len(times_ms))
        return cls(median_ms, max(error_ms, _LEAST_ERROR * median_ms))

    def is_like(self, other: "RunTime") -> bool:
        """Return whether noise explains the difference from another time."""
        return abs(self.median_ms - other.median_ms) <= _SIGNIFICANT * math.hypot(self.error_ms, other.error_ms)


def measured_heights(output_rows: int) -> tuple[int, ...]:
    """Return the numbers of rows for which a block with `output_rows` rows is measured, ascending and fewer than all.

    These are one row, which shows what a tile costs whatever its height, and an eighth, a quarter and half of all.
    """
    shares = (-(-output_rows // share) for share in _SHARES)
    return tuple(sorted({rows for rows in (1, *shares) if rows < output_rows}))


def row_table(whole: RunTime, tiles: Sequence[tuple[int, RunTime]], *, own_ms: float, overhead_ms: float) -> RowTimes:
    """Return the times of a block's rows as part of a segment, in ms.

    A tile and the block were measured as segments of their own, so that both times contain the overhead of a segment.
    What remains of the tile's time, relative to what remains of the block's, is its share of the block's own time.

    More rows that seem to take less time get the mean of both, if noise explains the difference. Otherwise they keep
    their times: an engine may have a slower kernel for few rows.

    Args:
        whole: of the block.
        tiles: rows and the time of a tile, rows ascending.
        own_ms: time of the block as part of a segment.
        overhead_ms: time of every segment beside that of its blocks.

    Returns:
        The table; empty for a block whose own time is lost in the overhead.
    """
    whole_own_ms = whole.median_ms - overhead_ms
    if whole_own_ms <= 0 or own_ms <= 0:
        return ()
    scale = own_ms / whole_own_ms
    table = []
    for rows, time in _without_noise(tiles):
        time_ms = whole.median_ms if time.median_ms > whole.median_ms and time.is_like(whole) else time.median_ms
        table.append((rows, scale * max(0.0, time_ms - overhead_ms)))
    return tuple(table)


def _without_noise(tiles: Sequence[tuple[int, RunTime]]) -> list[tuple[int, RunTime]]:
    """Return the times after the mean of neighbours has replaced those that descend within their noise."""
    pools: list[tuple[list[int], RunTime]] = []
    for rows, time in tiles:
        pool, pooled = [rows], time
        while pools and pools[-1][1].median_ms > pooled.median_ms and pools[-1][1].is_like(pooled):
            before, other = pools.pop()
            pooled = _mean(other, len(before), pooled, len(pool))
            pool = [*before, *pool]
        pools.append((pool, pooled))
    return [(rows, time) for pool, time in pools for rows in pool]


def _mean(one: RunTime, one_count: int, other: RunTime, other_count: int) -> RunTime:
    count = one_count + other_count
    median_ms = (one_count * one.median_ms + other_count * other.median_ms) / count
    return RunTime(median_ms, math.hypot(one_count * one.error_ms, other_count * other.error_ms) / count)
