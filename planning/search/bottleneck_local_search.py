"""Local search for throughput: moves, swaps and resizes segments of a route as long as its bottleneck shrinks."""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from math import inf

import numpy as np

from planning.search.arrays import Array, Flags, Index
from planning.search.chain_path import Path
from planning.search.cost_tables import Tables
from planning.search.limits import Limits

# By how many blocks a boundary between segments moves at most.
MAX_SHIFT = 3

# A neighbour has to be better by this share, so that rounding errors do not keep the search going.
_MIN_GAIN = 1e-9


class BottleneckLocalSearch:
    """Steepest descent over routes: examines all neighbours in arrays and takes the best.

    Routes are compared by their bottleneck, then by the sum of squares of all busy times. Of routes with the same
    bottleneck, the search continues from the one with more balanced resources. Invariant: the work that is left only
    falls, over all routes.
    """

    def __init__(self, tables: Tables, limits: Limits, busy: Array, weight: float) -> None:
        """Prepare for routes of one stream.

        Args:
            tables: the stream's arrays.
            limits: the side constraints; ``local_search_limit`` bounds the work of all routes together.
            busy: [2 D] busy times in ms that other streams already cause.
            weight: jobs per round of the stream.
        """
        self._tables, self._limits, self._busy, self._weight = tables, limits, busy, weight
        self._left = limits.local_search_limit
        factor = tables.codec_factor
        encode = tables.encode_ms[:, :, None, None] * factor[:, None]
        decode = tables.decode_ms[:, :, None, None] * factor[None, :]
        # [B + 1, D, D]: one encoding per cut, sender and receiver, the quickest. Neighbours differ in nodes only.
        codec = (tables.transfer_ms + encode + decode).argmin(axis=1)
        cut = np.arange(len(codec))[:, None, None]
        nodes = np.arange(len(factor))
        self._codec = codec
        self._sent = tables.transfer_ms[cut, codec, nodes[:, None], nodes]
        self._encode = tables.encode_ms[cut, codec] * factor[:, None]
        self._decode = tables.decode_ms[cut, codec] * factor

    def improve(self, path: Path) -> Path:
        """Return a path without a better neighbour, or the last one before the work was used up.

        No more neighbours are looked at, and held in memory, than work is left for. The cost of the result is its
        bottleneck in ms per round.
        """
        best, codecs, rank = path.devices, path.codecs, (path.cost, inf)
        while self._left > 0:
            affordable = max(1, self._left // len(best))
            options = np.array([*islice(_neighbours(best, len(self._tables.nodes)), affordable)], dtype=np.int64)
            if not len(options):
                break
            self._left -= options.size
            worst, squares = self.ranks(options)
            least = int(np.lexsort((squares, worst))[0])
            if worst[least] >= rank[0] * (1 - _MIN_GAIN):
                break
            rank = float(worst[least]), float(squares[least])
            best = options[least].tolist()
            codecs = self._chosen(best)
        return Path(rank[0], best, codecs)

    def ranks(self, devices: Index) -> tuple[Array, Array]:
        """Return the bottleneck (ms) and the sum of squares (ms^2) of every route, [N] each; inf if impossible.

        Args:
            devices: [N, B] node of every block. Feature maps travel in the quickest encoding.
        """
        tables = self._tables
        count, blocks = devices.shape
        nodes = len(tables.nodes)
        rows = np.arange(count)[:, None]
        run = tables.run_ms[devices, np.arange(blocks)]
        begins = np.ones_like(devices, dtype=np.bool_)
        begins[:, 1:] = devices[:, 1:] != devices[:, :-1]
        run = run + begins * tables.start_ms[devices]
        # [N, B + 1]: at cut i the node of block i - 1, or the source, sends to the node of block i, or the sink.
        sender = np.concatenate([np.full((count, 1), tables.source), devices], axis=1)
        last = devices[:, -1:] if tables.sink is None else np.full((count, 1), tables.sink)
        receiver = np.concatenate([devices, last], axis=1)
        sends = sender != receiver
        places = np.arange(blocks + 1), sender, receiver
        sent, encode, decode = (
            np.where(sends, table[places], 0.0) for table in (self._sent, self._encode, self._decode)
        )
        possible = np.isfinite(run).all(axis=1) & np.isfinite(sent).all(axis=1) & tables.allowed_first[devices[:, 0]]
        # Sums over the blocks and cuts of every node: one bin per route and node.
        size = count * nodes
        computing = np.bincount((rows * nodes + devices).ravel(), run.ravel(), size)
        computing += np.bincount((rows * nodes + sender).ravel(), encode.ravel(), size)
        computing += np.bincount((rows * nodes + receiver).ravel(), decode.ravel(), size)
        sending = np.bincount((rows * nodes + sender).ravel(), sent.ravel(), size)
        busy = np.concatenate([computing.reshape(count, nodes), sending.reshape(count, nodes)], axis=1)
        possible &= self._keeps(devices, busy)
        # Impossible routes may hold infinite times; they are masked below.
        with np.errstate(invalid="ignore"):
            loads = self._busy + self._weight * busy
            worst, squares = loads.max(axis=1), (loads * loads).sum(axis=1)
        return np.where(possible, worst, np.inf), np.where(possible, squares, np.inf)

    def _chosen(self, devices: Sequence[int]) -> list[int]:
        """Return the encoding at the cut after every block, [B]."""
        receivers = [*devices[1:], devices[-1] if self._tables.sink is None else self._tables.sink]
        return [
            0 if sender == receiver else int(self._codec[cut, sender, receiver])
            for cut, (sender, receiver) in enumerate(zip(devices, receivers, strict=True), start=1)
        ]

    def _keeps(self, devices: Index, busy: Array) -> Flags:
        """Return which routes keep the side constraints, [N]. ``busy`` is [N, 2 D] of one request."""
        limits = self._limits
        count, nodes = len(devices), len(self._tables.nodes)
        allowed = np.ones(count, dtype=np.bool_)
        if limits.deadline_ms is not None:
            # The operations of one request follow each other, so that its busy times add up to its latency.
            allowed &= busy.sum(axis=1) <= limits.deadline_ms
        rows = np.repeat(np.arange(count), devices.shape[1])
        if limits.max_devices is not None:
            used = np.zeros((count, nodes), dtype=np.bool_)
            used[rows, devices.ravel()] = True
            allowed &= used.sum(axis=1) <= limits.max_devices
        if limits.memory_bytes is not None:
            parameters = np.tile(np.array(limits.parameter_bytes), count)
            held = np.bincount(rows * nodes + devices.ravel(), parameters, count * nodes).reshape(count, nodes)
            working = np.zeros((count, nodes))
            np.maximum.at(working, (rows, devices.ravel()), np.tile(np.array(limits.working_bytes), count))
            allowed &= (held + working <= np.array(limits.memory_bytes)).all(axis=1)
        return allowed


def _neighbours(devices: Sequence[int], nodes: int) -> Iterator[list[int]]:
    """Yield the route with one segment elsewhere, two segments swapped, a boundary shifted, or one block elsewhere."""
    bounds = [0, *(cut for cut in range(1, len(devices)) if devices[cut] != devices[cut - 1]), len(devices)]
    spans = list(pairwise(bounds))
    for start, stop in spans:
        for node in range(nodes):
            if node != devices[start]:
                yield [*devices[:start], *[node] * (stop - start), *devices[stop:]]
    for index, (start, stop) in enumerate(spans):
        for other_start, other_stop in spans[index + 1 :]:
            swapped = list(devices)
            swapped[start:stop] = [devices[other_start]] * (stop - start)
            swapped[other_start:other_stop] = [devices[start]] * (other_stop - other_start)
            yield swapped
    for cut in bounds[1:-1]:
        for shift in range(1, MAX_SHIFT + 1):
            if cut + shift <= len(devices):
                yield [*devices[:cut], *[devices[cut - 1]] * shift, *devices[cut + shift :]]
            if cut - shift >= 0:
                yield [*devices[: cut - shift], *[devices[cut]] * shift, *devices[cut:]]
    for block, node in ((block, node) for block in range(len(devices)) for node in range(nodes)):
        if node != devices[block]:
            yield [*devices[:block], node, *devices[block + 1 :]]
