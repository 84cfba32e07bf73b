"""Idle profile of a model: the time of each block and the overhead of a segment, from measured times."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdleProfile:
    """Computing times of a model's blocks on an idle machine, in ms.

    Attributes:
        block_ms: block 0 is `prepare`, block k is block k-1 of the ONNX file.
        segment_overhead_ms: time of every segment beside that of its blocks.
    """

    block_ms: tuple[float, ...]
    segment_overhead_ms: float = 0.0

    def segment_ms(self, start: int, stop: int) -> float:
        """Return the time of blocks `[start, stop)` as one segment, at load factor 1."""
        return sum(self.block_ms[start:stop]) + self.segment_overhead_ms

    def scaled(self, factor: float) -> "IdleProfile":
        """Return the profile of a device that is `factor` times as slow."""
        return IdleProfile(tuple(factor * block_ms for block_ms in self.block_ms), factor * self.segment_overhead_ms)


def make_profile(prepare_ms: float, block_ms: Sequence[float], whole_ms: float) -> IdleProfile:
    """Separate the blocks' own times from the overhead of a segment.

    Each of the B blocks was measured as a segment of its own, the whole model as one segment:

        b_i = t_i + o          W = sum t_i + o

    with t_i the block's own time and o the overhead. Subtracting gives

        o = (sum b_i - W) / (B - 1)          t_i = b_i - o

    A negative o (fusion across blocks changes the time of the whole) is replaced by 0. The t_i are then scaled so that
    sum t_i + o = W holds, because ranges of blocks run, not single ones.

    Args:
        prepare_ms: time of block 0.
        block_ms: medians of the blocks of the ONNX file, each run alone; at least one.
        whole_ms: median of the whole model.

    Raises:
        ValueError: there is no block, or a time is negative.
    """
    if not block_ms or min(*block_ms, prepare_ms, whole_ms) < 0:
        raise ValueError("a profile needs at least one block, and no time is negative")
    count = len(block_ms)
    overhead_ms = max(0.0, (sum(block_ms) - whole_ms) / (count - 1)) if count > 1 else 0.0
    # Noise can make o larger than W; then no time would be left for the blocks.
    overhead_ms = min(overhead_ms, whole_ms)
    # Never negative: shortest-path searches need non-negative costs.
    own_ms = [max(0.0, alone_ms - overhead_ms) for alone_ms in block_ms]
    total_ms = sum(own_ms)
    if total_ms > 0:
        scale = (whole_ms - overhead_ms) / total_ms
        own_ms = [scale * block_own_ms for block_own_ms in own_ms]
    return IdleProfile((prepare_ms, *own_ms), overhead_ms)


def is_enough(times_ms: Sequence[float], *, least: int = 5, most: int = 25, total_ms: float = 50.0) -> bool:
    """Return whether a block was run often enough.

    It runs at least `least` times, and then until its runs have taken `total_ms` together or there are `most` of them.
    Three runs are enough for a block whose median exceeds `total_ms`.
    """
    if len(times_ms) >= 3 and statistics.median(times_ms) > total_ms:
        return True
    return len(times_ms) >= most or (len(times_ms) >= least and sum(times_ms) >= total_ms)
