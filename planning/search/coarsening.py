"""Shorter chains for searches that cannot afford every block: runs of blocks, cut where least is sent."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from planning.search.arrays import Index
from planning.search.chain_path import Path
from planning.search.cost_tables import Tables
from planning.search.limits import Limits


@dataclass(frozen=True, slots=True, eq=False)
class CoarseChain:
    """A shorter chain whose blocks are runs of blocks of a longer one.

    A route of the shorter chain costs the same in the longer one, because blocks of a run stay on one node.

    Attributes:
        tables: its arrays.
        limits: its side constraints.
        stops: [number of runs] block of the longer chain at which every run ends, ascending.
    """

    tables: Tables
    limits: Limits
    stops: Index

    def fine(self, path: Path) -> Path:
        """Return the same route in blocks of the longer chain."""
        counts = np.diff(self.stops, prepend=0)
        codecs = np.zeros(int(self.stops[-1]), dtype=np.int64)
        codecs[self.stops - 1] = path.codecs
        return Path(path.cost, np.repeat(path.devices, counts).tolist(), codecs.tolist())


def coarsened(tables: Tables, limits: Limits, most: int) -> CoarseChain:
    """Return a chain of at most ``most`` blocks.

    The cuts 1..B-1 are divided into stretches of equal length. Each stretch keeps the cut with the smallest encoding.

    Args:
        tables: the arrays of the longer chain.
        limits: its side constraints. Half of the work of local search is left for the longer chain.
        most: number of blocks.
    """
    blocks = tables.blocks
    smallest_bytes = np.array([min(encoding.size_bytes for encoding in offer) for offer in tables.offers])
    # ``most`` edges bound at most ``most`` - 1 stretches, each with one cut, so at most ``most`` runs remain.
    edges = np.unique(np.linspace(1, blocks, max(1, most)).round().astype(np.int64)).tolist()
    inner = [start + int(smallest_bytes[start:stop].argmin()) for start, stop in pairwise(edges)]
    stops = np.array([*dict.fromkeys(inner), blocks])
    begins, cuts = np.concatenate([[0], stops[:-1]]), np.concatenate([[0], stops])
    # A run takes the sum of its blocks' times and parameters, and the largest of their activations.
    shorter = replace(
        tables,
        run_ms=np.add.reduceat(tables.run_ms, begins, axis=1),
        offers=tuple(tables.offers[cut] for cut in cuts.tolist()),
        transfer_ms=tables.transfer_ms[cuts],
        encode_ms=tables.encode_ms[cuts],
        decode_ms=tables.decode_ms[cuts],
    )
    held = replace(
        limits,
        parameter_bytes=tuple(np.add.reduceat(np.array(limits.parameter_bytes), begins).tolist()),
        working_bytes=tuple(np.maximum.reduceat(np.array(limits.working_bytes), begins).tolist()),
        local_search_limit=limits.local_search_limit // 2,
    )
    return CoarseChain(shorter, held, stops)
