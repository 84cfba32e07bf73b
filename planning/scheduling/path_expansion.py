"""Cuts of branching models for bursts: Duan & Wu's algorithm 3, expanded region by region, and repaired.

Algorithm 3 expands a model into its independent paths, cuts each by algorithm 2, and orders the paths by Johnson's
rule. As printed it has two defects, which are resolved here:

- The number of paths is exponential: GoogLeNet has 4^9. The model is a series of regions between blocks that every
  path runs through, so that regions are expanded one by one: 36 paths.
- The cuts of several paths together may compute a block at the source without its dependencies, or send a tensor
  twice. So the set is closed under dependencies, and every tensor that leaves it is sent once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from planning.cost.cost_model import CostModel
from planning.problem.problem import Model, Problem, Stream
from planning.scheduling.identical_jobs import crossing, jps_cuts, virtual_blocks

# Paths of one region that are looked at. The paths of a whole model are the product over its regions.
MAX_PATHS = 4096

# The input counts as a block before the first one.
_INPUT = -1


@dataclass(frozen=True, slots=True)
class LocalSet:
    """The blocks that a job computes at the source.

    Invariant: with a block, all that it depends on is in the set.

    Attributes:
        blocks: the blocks, by index.
        computing_ms: computing of the source.
        sending_ms: sending of the source: every tensor that leaves the set, once.
    """

    blocks: frozenset[int]
    computing_ms: float
    sending_ms: float

    @property
    def prefix(self) -> int:
        """The first cut in block order after the whole set; the set is all blocks before it if it is contiguous."""
        return max(self.blocks, default=_INPUT) + 1


def path_cuts(problem: Problem, stream: Stream, helper: str) -> list[LocalSet]:
    """Return the local sets that a burst of jobs may mix, by algorithm 3; `mix_local_sets` chooses among them.

    The blocks between regions are a chain. Algorithm 2 on that chain finds the cut at which computing overtakes
    sending, and with it the regions in which the best cuts lie. In each of these regions every path is a chain of its
    own, cut by algorithm 2. One set has all paths cut at the crossing, one has them cut a step before it.

    Args:
        problem: the problem.
        stream: a stream of any model, branching or not.
        helper: the device that computes the rest.
    """
    graph = _Graph(problem, stream, helper)
    series = graph.series()
    chain = [graph.local_set(range(point + 1)) for point in series]
    chain.append(graph.local_set(range(graph.count)))
    kept = virtual_blocks([(entry.computing_ms, entry.sending_ms) for entry in chain])
    star = crossing([(chain[place].computing_ms, chain[place].sending_ms) for place in kept])
    # Computing never overtakes sending, or does so at the first cut: no region lies between two cuts of the chain.
    if star == 0 or chain[kept[star]].computing_ms < chain[kept[star]].sending_ms:
        return [chain[kept[star]]]
    # The regions between the last chain cut that sends more than it computes, and the first that does not.
    sets = [chain[kept[star - 1]]]
    bounds = [*series, graph.count]
    for start, end in pairwise(bounds[kept[star - 1] : kept[star] + 1]):
        # Every path passes the block ``start``, so both sets contain it and all blocks before it.
        earlier, later = set(range(start + 1)), set(range(start + 1))
        for path in graph.paths(start, end):
            place = crossing(graph.path_curve(start, path))
            earlier.update(path[: max(0, place - 1)])
            later.update(path[:place])
        sets += [graph.local_set(graph.closed(blocks)) for blocks in (earlier, later)]
    return list(dict.fromkeys([*sets, chain[kept[star]]]))


def mix_local_sets(sets: Sequence[LocalSet], jobs: int) -> list[int]:
    """Return an index of ``sets`` per job: the two sets around the crossing of f and g, mixed as in algorithm 2."""
    order = sorted(range(len(sets)), key=lambda index: (sets[index].computing_ms, -sets[index].sending_ms))
    curve = [(sets[index].computing_ms, sets[index].sending_ms) for index in order]
    kept = virtual_blocks(curve)
    return [order[kept[cut]] for cut in jps_cuts([curve[place] for place in kept], jobs)]


class _Graph:
    """A model's blocks with their times at the source, and its tensors with their times on the link to the helper."""

    def __init__(self, problem: Problem, stream: Stream, helper: str) -> None:
        model, source = problem.models[stream.model], problem.devices[stream.source]
        costs = CostModel(problem)
        self.count = len(model.blocks)
        self._near_ms = [source.slowdown * time_ms for time_ms in source.block_ms[stream.model]]
        self._start_ms = source.slowdown * source.segment_overhead_ms
        self._readers: dict[int, set[int]] = {block: set() for block in range(_INPUT, self.count)}
        sizes = {_INPUT: model.input_bytes} | {index: block.output_bytes for index, block in enumerate(model.blocks)}
        for maker, reader, size_bytes in _edges(model):
            self._readers[maker].add(reader)
            sizes[maker] = size_bytes
        self._delay_ms = costs.transfer_ms(stream.source, helper, 0.0)
        self._send_ms = {
            maker: costs.transfer_ms(stream.source, helper, size_bytes) - self._delay_ms
            for maker, size_bytes in sizes.items()
        }

    def series(self) -> list[int]:
        """Return the input and the inner blocks that every path runs through, ascending.

        Blocks are in topological order. A path avoids a block only along an edge from before it to after it. ``reach``
        is the furthest reader of all blocks before it, so the block is on all paths if ``reach`` is not after it.
        """
        points, reach = [], _INPUT
        for block in range(_INPUT, self.count - 1):
            if reach <= block:
                points.append(block)
            reach = max(reach, *self._readers[block], block)
        return points

    def paths(self, start: int, end: int) -> Iterator[tuple[int, ...]]:
        """Yield the blocks after ``start`` of every path to ``end``, at most MAX_PATHS; ``end`` comes last."""
        return islice(self._walk(start, end, ()), MAX_PATHS)

    def _walk(self, here: int, end: int, passed: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for reader in sorted(self._readers[here]):
            if reader == end or not self._readers[reader]:
                yield (*passed, reader)
            else:
                yield from self._walk(reader, end, (*passed, reader))

    def path_curve(self, start: int, path: Sequence[int]) -> list[tuple[float, float]]:
        """Return (f, g) before the path's first block and after each of its blocks, as if it were the only path.

        All blocks up to ``start`` are computed at the source in any case.
        """
        computed_ms = self.local_set(range(start + 1)).computing_ms
        curve = [(computed_ms, self._delay_ms + self._send_ms[start])]
        for block in path:
            computed_ms += self._near_ms[block]
            curve.append((computed_ms, self._delay_ms + self._send_ms[block] if self._readers[block] else 0.0))
        return curve

    def closed(self, blocks: Iterable[int]) -> set[int]:
        """Return the blocks and all that they depend on."""
        inside = set(blocks)
        # Backwards in topological order, so that one pass is enough.
        for block in range(self.count - 1, _INPUT - 1, -1):
            if self._readers[block] & inside:
                inside.add(block)
        return inside - {_INPUT}

    def local_set(self, blocks: Iterable[int]) -> LocalSet:
        """Return a closed set with its times."""
        inside = frozenset(blocks) - {_INPUT}
        computing_ms = sum(self._near_ms[block] for block in sorted(inside)) + (self._start_ms if inside else 0.0)
        sent = [maker for maker in (_INPUT, *sorted(inside)) if self._readers[maker] - inside]
        sending_ms = self._delay_ms + sum(self._send_ms[maker] for maker in sent) if sent else 0.0
        return LocalSet(inside, computing_ms, sending_ms)


def _edges(model: Model) -> list[tuple[int, int, float]]:
    """Return every edge as (maker, reader, bytes), with those of the input; a chain has one between neighbours."""
    if model.edges is None:
        inner = [(index, index + 1, block.output_bytes) for index, block in enumerate(model.blocks[:-1])]
    else:
        inner = list(model.edges)
    fed = {reader for _, reader, _ in inner}
    return [(_INPUT, block, model.input_bytes) for block in range(len(model.blocks)) if block not in fed] + inner
