"""Idle profile of a model: the time of each block and the overhead of a segment, from measured times."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.messages.devices import REFUSED_MS, BlockRefusal
from shared.row_times import RowTimes, share_ms


@dataclass(frozen=True, slots=True)
class IdleProfile:
    """Computing times of a model's blocks on an idle machine, in ms.

    Attributes:
        block_ms: block 0 is `prepare`, block k is block k-1 of the ONNX file; `REFUSED_MS` for a block that cannot run.
        segment_overhead_ms: time of every segment beside that of its blocks.
        refusals: the blocks that cannot run here, with reasons.
        row_ms: times of some rows of blocks, by block; None if tiles have not been measured. A block that is missing
            was not measured, and its time counts as proportional to its rows.
    """

    block_ms: tuple[float, ...]
    segment_overhead_ms: float = 0.0
    refusals: tuple[BlockRefusal, ...] = ()
    row_ms: Mapping[int, RowTimes] | None = None

    def segment_ms(self, start: int, stop: int) -> float:
        """Return the time of blocks `[start, stop)` as one segment, at load factor 1."""
        return sum(self.block_ms[start:stop]) + self.segment_overhead_ms

    def tile_ms(self, start: int, rows: Sequence[tuple[int, int]]) -> float:
        """Return the time of a tile of the blocks from `start` on, at load factor 1.

        Args:
            start: first block.
            rows: of every block, how many the tile computes, and how many there are.
        """
        tables = self.row_ms or {}
        shares_ms = (
            share_ms(self.block_ms[block], tables.get(block), count, of)
            for block, (count, of) in enumerate(rows, start)
        )
        return sum(shares_ms) + self.segment_overhead_ms

    def scaled(self, factor: float) -> "IdleProfile":
        """Return the profile of a device that is `factor` times as slow."""
        scaled_ms = (block_ms if block_ms == REFUSED_MS else factor * block_ms for block_ms in self.block_ms)
        row_ms = None
        if self.row_ms is not None:
            row_ms = {
                block: tuple((rows, factor * time_ms) for rows, time_ms in table)
                for block, table in self.row_ms.items()
            }
        return replace(
            self, block_ms=tuple(scaled_ms), segment_overhead_ms=factor * self.segment_overhead_ms, row_ms=row_ms
        )


@dataclass(frozen=True, slots=True)
class MeasuredGroup:
    """Consecutive blocks of a model, each measured as a segment of its own, and all as one segment.

    Attributes:
        start: first block of the group.
        block_ms: medians of the blocks; at least one.
        whole_ms: median of the segment of all blocks.
    """

    start: int
    block_ms: tuple[float, ...]
    whole_ms: float

    def __post_init__(self) -> None:
        if not self.block_ms or min(*self.block_ms, self.whole_ms) < 0:
            raise ValueError("a group needs at least one block, and no time is negative")


def make_profile(
    block_count: int, prepare_ms: float, groups: Sequence[MeasuredGroup], refusals: tuple[BlockRefusal, ...] = ()
) -> IdleProfile:
    """Separate the blocks' own times from the overhead of a segment.

    On a device that holds the whole model, all blocks are one group. Each of a group's n blocks was measured as a
    segment of its own, and the group as one segment:

        b_i = t_i + o          W = sum t_i + o

    with t_i the block's own time and o the overhead, the same for all groups. Adding up over the groups gives

        o = sum (sum b_i - W) / sum (n - 1)          t_i = b_i - o

    A negative o (fusion across blocks changes the time of the whole) is replaced by 0. The t_i of a group are then
    scaled so that sum t_i + o = W holds, because ranges of blocks run, not single ones.

    Args:
        block_count: number of the model's blocks, `prepare` included.
        prepare_ms: time of block 0.
        groups: do not overlap.
        refusals: the blocks that are in no group.

    Raises:
        ValueError: a time is negative.
    """
    if prepare_ms < 0:
        raise ValueError("no time is negative")
    pairs = sum(len(group.block_ms) - 1 for group in groups)
    saved_ms = sum(sum(group.block_ms) - group.whole_ms for group in groups if len(group.block_ms) > 1)
    overhead_ms = max(0.0, saved_ms / pairs) if pairs else 0.0
    # Noise can make o larger than W; then no time would be left for the blocks.
    overhead_ms = min([overhead_ms, *(group.whole_ms for group in groups)])
    block_ms = [prepare_ms, *[REFUSED_MS] * (block_count - 1)]
    for group in groups:
        block_ms[group.start : group.start + len(group.block_ms)] = _own_times(group, overhead_ms)
    return IdleProfile(tuple(block_ms), overhead_ms, refusals)


def _own_times(group: MeasuredGroup, overhead_ms: float) -> list[float]:
    # Never negative: shortest-path searches need non-negative costs.
    own_ms = [max(0.0, alone_ms - overhead_ms) for alone_ms in group.block_ms]
    total_ms = sum(own_ms)
    if total_ms > 0:
        scale = (group.whole_ms - overhead_ms) / total_ms
        own_ms = [scale * block_own_ms for block_own_ms in own_ms]
    return own_ms


def is_enough(times_ms: Sequence[float], *, least: int = 5, most: int = 25, total_ms: float = 50.0) -> bool:
    """Return whether a block was run often enough.

    It runs at least `least` times, and then until its runs have taken `total_ms` together or there are `most` of them.
    Three runs are enough for a block whose median exceeds `total_ms`.
    """
    if len(times_ms) >= 3 and statistics.median(times_ms) > total_ms:
        return True
    return len(times_ms) >= most or (len(times_ms) >= least and sum(times_ms) >= total_ms)
