"""From measured times to a profile: what a block costs, what a segment costs on top. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdleProfile:
    """What a model's blocks take on this machine, idle, at no slowdown.

    Attributes:
        block_ms: block 0 is `prepare`, block k is block k-1 of the ONNX file.
        segment_overhead_ms: what every segment takes beside its blocks.
    """

    block_ms: tuple[float, ...]
    segment_overhead_ms: float = 0.0

    def segment_ms(self, start: int, stop: int) -> float:
        """Return what blocks `[start, stop)` take as one segment (design section 5, `compute_ms` at load factor 1)."""
        return sum(self.block_ms[start:stop]) + self.segment_overhead_ms

    def scaled(self, factor: float) -> "IdleProfile":
        """Return the profile of a device that is `factor` times slower."""
        return IdleProfile(tuple(factor * each for each in self.block_ms), factor * self.segment_overhead_ms)


def make_profile(prepare_ms: float, block_ms: Sequence[float], whole_ms: float) -> IdleProfile:
    """Separate the blocks' own times from what running each as a segment of its own adds.

    Every block was measured as a segment: b_i = t_i + o. The whole model is one segment: W = sum t_i + o. So
    o = (sum b_i - W) / (B - 1), and t_i = b_i - o. Where o comes out negative (fusion across blocks can make the
    whole slower or faster than its parts) it is 0. The t_i are scaled so that sum t_i + o = W, because whole ranges,
    not single blocks, are what runs.

    Args:
        prepare_ms: block 0.
        block_ms: medians of the blocks of the ONNX file, each run alone; at least one.
        whole_ms: median of the whole model.

    Raises:
        ValueError: no block, or a negative time.
    """
    if not block_ms or min(*block_ms, prepare_ms, whole_ms) < 0:
        raise ValueError("a profile needs at least one block, and no time is negative")
    count = len(block_ms)
    overhead_ms = max(0.0, (sum(block_ms) - whole_ms) / (count - 1)) if count > 1 else 0.0
    overhead_ms = min(overhead_ms, whole_ms)
    own_ms = [max(0.0, each - overhead_ms) for each in block_ms]
    total_ms = sum(own_ms)
    if total_ms > 0:
        scale = (whole_ms - overhead_ms) / total_ms
        own_ms = [scale * each for each in own_ms]
    return IdleProfile((prepare_ms, *own_ms), overhead_ms)


def is_enough(times_ms: Sequence[float], *, least: int = 5, most: int = 25, total_ms: float = 50.0) -> bool:
    """Whether a block was run often enough: at least `least` times, and until `total_ms` is spent or `most` is reached.

    A block that takes longer than `total_ms` at once is run three times.
    """
    if len(times_ms) >= 3 and statistics.median(times_ms) > total_ms:
        return True
    return len(times_ms) >= most or (len(times_ms) >= least and sum(times_ms) >= total_ms)
