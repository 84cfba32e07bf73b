"""Local search for plans with tiles: moves of rows to a local optimum, then moves of stages, until none helps.

Moves are evaluated many at a time (`batch_costs`). Row moves that help are also tried together, because each of them
shortens one of several paths that end at about the same time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from planning.search.arrays import Array
from planning.tiled_search.batch_costs import BatchCosts, batch_costs
from planning.tiled_search.plan_batch import PlanBatch, TiledChain, batch_of, joined
from planning.tiled_search.row_moves import RowMoves
from planning.tiled_search.stage_moves import stage_moves
from planning.tiled_search.tile_tables import TileTables

# Chains that are improved side by side.
WIDTH = 4

# Rounds of row moves of one chain.
_ROUNDS = 12

# A change below this share of the score is rounding.
_LEAST_GAIN = 1e-7

Score = Callable[[BatchCosts], Array]


@dataclass(slots=True)
class DescentWork:
    """Work that is left, in chains x stages x nodes^2 evaluated."""

    left: float

    def take(self, chains: int, stages: int, nodes: int) -> None:
        """Count an evaluation."""
        self.left -= chains * stages * nodes**2


@dataclass(slots=True)
class TiledDescent:
    """The search of one stream.

    Attributes:
        tables: the arrays of the stream.
        score: returns [N] the numbers to make small, of a batch.
        needs_loads: whether the score reads `BatchCosts.loads`.
        work: ends the search when it is used up.
    """

    tables: TileTables
    score: Score
    needs_loads: bool
    work: DescentWork
    _seen: set[tuple[bytes, ...]] = field(default_factory=set)

    def improved(self, starts: Sequence[TiledChain]) -> TiledChain:
        """Return the best chain that the search finds from some starts; there is one at least."""
        values = self._scores(starts)
        ranked = np.argsort(values, kind="stable")[:WIDTH]
        pool = self._settled([starts[place] for place in ranked.tolist()])
        best_value, best = min(pool, key=lambda pair: pair[0])
        while self.work.left > 0:
            moved = [chain for chain in stage_moves(self.tables, best) if self._is_new(chain)]
            if not moved:
                break
            values = self._scores(moved)
            ranked = np.argsort(values, kind="stable")[:WIDTH]
            chosen = [moved[place] for place in ranked.tolist() if np.isfinite(values[place])]
            if not chosen:
                break
            value, chain = min(self._settled(chosen), key=lambda pair: pair[0])
            if value >= best_value - abs(best_value) * _LEAST_GAIN:
                break
            best_value, best = value, chain
        return best

    def _is_new(self, chain: TiledChain) -> bool:
        key = chain.key
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _scores(self, chains: Sequence[TiledChain]) -> Array:
        batch = batch_of(chains)
        self.work.take(len(chains), batch.stops.shape[1], len(self.tables.nodes))
        return self.score(batch_costs(self.tables, batch, with_loads=self.needs_loads))

    def _settled(self, chains: Sequence[TiledChain]) -> list[tuple[float, TiledChain]]:
        """Return chains, each with its score, after row moves as long as they help."""
        pool = list(zip(self._scores(chains).tolist(), chains, strict=True))
        active = list(range(len(pool)))
        for _ in range(_ROUNDS):
            moves = [RowMoves(pool[place][1]) for place in active]
            pairs = [(place, own) for place, own in zip(active, moves, strict=True) if len(own.changes)]
            if not pairs or self.work.left <= 0:
                break
            active = self._moved(pool, pairs)
        return pool

    def _moved(self, pool: list[tuple[float, TiledChain]], pairs: Sequence[tuple[int, RowMoves]]) -> list[int]:
        """Replace chains of ``pool`` by their best neighbours; return the places of those that have got better."""
        batches = [own.neighbours() for _, own in pairs]
        values = self._batch_scores(batches)
        trials = []
        for (place, own), batch, scores in zip(pairs, batches, values, strict=True):
            limit = pool[place][0] * (1 - _LEAST_GAIN)
            ranked = np.argsort(scores, kind="stable")
            ranked = ranked[scores[ranked] < limit]
            if not len(ranked):
                continue
            first = int(ranked[0])
            pool[place] = float(scores[first]), batch.chain(first)
            trials.append((place, own.combined(ranked)))
        joint = [(place, batch) for place, batch in trials if len(batch.stops)]
        if joint:
            for (place, batch), scores in zip(joint, self._batch_scores([own for _, own in joint]), strict=True):
                first = int(scores.argmin())
                if scores[first] < pool[place][0]:
                    pool[place] = float(scores[first]), batch.chain(first)
        return [place for place, _ in trials]

    def _batch_scores(self, batches: Sequence[PlanBatch]) -> list[Array]:
        batch = joined(batches)
        self.work.take(len(batch.stops), batch.stops.shape[1], len(self.tables.nodes))
        values = self.score(batch_costs(self.tables, batch, with_loads=self.needs_loads))
        return np.split(values, np.cumsum([len(own.stops) for own in batches])[:-1])
