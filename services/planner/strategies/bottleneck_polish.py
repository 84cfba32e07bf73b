"""Local search for throughput: move, swap and resize segments of a route as long as its bottleneck shrinks."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf

import numpy as np

from services.planner.strategies.chain_path import Path
from services.planner.strategies.label_search import Limits
from services.planner.strategies.tables import Tables

MAX_SHIFT = 3
"""By how many blocks a boundary moves at most."""


def polish(tables: Tables, path: Path, limits: Limits, busy: Sequence[float], weight: float) -> Path:
    """Return a path without a better neighbour.

    Args:
        tables: the stream's arrays.
        path: where to start; it keeps the limits.
        limits: the side constraints.
        busy: [2 D] busy times that other streams already cause.
        weight: jobs per round of the stream.
    """
    judge = _Judge(tables, limits, busy, weight)
    best, codecs, rank = path.devices, path.codecs, (path.cost, inf)
    while True:
        options = []
        for devices in _neighbours(best, len(tables.nodes)):
            chosen = judge.codecs(devices)
            if chosen is not None:
                options.append((judge.rank(devices, chosen), devices, chosen))
        least = min(options, default=None, key=lambda option: option[0])
        if least is None or least[0][0] >= rank[0] * (1 - 1e-9):
            return Path(rank[0], best, codecs)
        rank, best, codecs = least


def _neighbours(devices: Sequence[int], nodes: int) -> Iterator[list[int]]:
    """Yield the route with one segment elsewhere, two segments swapped, or one boundary shifted."""
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


class _Judge:
    """Rates routes by the definitions of the cost model, on plain lists for speed."""

    def __init__(self, tables: Tables, limits: Limits, busy: Sequence[float], weight: float) -> None:
        self._tables, self._limits, self._busy, self._weight = tables, limits, list(busy), weight
        self._run = tables.run_ms.tolist()
        self._start = tables.start_ms.tolist()
        factor = tables.codec_factor
        total = tables.transfer_ms + tables.encode_ms[:, :, None, None] * factor[:, None]
        total = total + tables.decode_ms[:, :, None, None] * factor[None, :]
        self._cheapest = total.argmin(axis=1)
        self._transfer = tables.transfer_ms

    def codecs(self, devices: Sequence[int]) -> list[int] | None:
        """Return the quickest encoding at every cut; None if a block cannot run or a link is missing."""
        tables, last = self._tables, len(devices)
        if not tables.allowed_first[devices[0]] or any(self._run[node][i] == inf for i, node in enumerate(devices)):
            return None
        chosen = [0] * last
        for cut, sender, receiver in self._sendings(devices):
            codec = int(self._cheapest[cut, sender, receiver])
            if not np.isfinite(self._transfer[cut, codec, sender, receiver]):
                return None
            if cut:
                chosen[cut - 1] = codec
        return chosen

    def rank(self, devices: Sequence[int], codecs: Sequence[int]) -> tuple[float, float]:
        """Return the bottleneck and the sum of squares of all busy times, in ms; inf if a limit is broken."""
        tables, nodes = self._tables, len(self._run)
        busy, latency_ms = [0.0] * (2 * nodes), 0.0
        for block, node in enumerate(devices):
            busy[node] += self._run[node][block]
            if block == 0 or devices[block - 1] != node:
                busy[node] += self._start[node]
        for cut, sender, receiver in self._sendings(devices):
            codec = codecs[cut - 1] if cut else 0
            busy[nodes + sender] += float(self._transfer[cut, codec, sender, receiver])
            busy[sender] += float(tables.encode_ms[cut, codec] * tables.codec_factor[sender])
            busy[receiver] += float(tables.decode_ms[cut, codec] * tables.codec_factor[receiver])
        latency_ms = sum(busy)
        if self._breaks(devices, latency_ms):
            return inf, inf
        loads = [other + self._weight * own for other, own in zip(self._busy, busy, strict=True)]
        return max(loads), sum(load * load for load in loads)

    def _sendings(self, devices: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Yield cut, sender and receiver of everything that is sent."""
        sender = self._tables.source
        for cut, receiver in enumerate(devices):
            if receiver != sender:
                yield cut, sender, receiver
            sender = receiver
        if self._tables.sink is not None and self._tables.sink != sender:
            yield len(devices), sender, self._tables.sink

    def _breaks(self, devices: Sequence[int], latency_ms: float) -> bool:
        limits = self._limits
        if limits.deadline_ms is not None and latency_ms > limits.deadline_ms:
            return True
        if limits.max_devices is not None and len(set(devices)) > limits.max_devices:
            return True
        if limits.memory_bytes is None:
            return False
        for node in set(devices):
            blocks = [block for block, own in enumerate(devices) if own == node]
            need = sum(limits.parameter_bytes[block] for block in blocks)
            if need + max(limits.working_bytes[block] for block in blocks) > limits.memory_bytes[node]:
                return True
        return False
