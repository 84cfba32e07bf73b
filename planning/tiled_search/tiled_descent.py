"""Local search for plans with tiles: moves of rows to a local optimum, then moves of stages, until none helps.

Moves of the heads of stages are many, and are tried where no other move of stages helps.

Moves are evaluated many at a time (`batch_costs`). Row moves that help are also tried together, because each of them
shortens one of several paths that end at about the same time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from planning.search.arrays import Array
from planning.tiled_search.batch_costs import BatchCosts, batch_costs
from planning.tiled_search.plan_batch import PlanBatch, TiledChain, batch_of, joined
from planning.tiled_search.row_balance import balanced
from planning.tiled_search.row_moves import RowMoves
from planning.tiled_search.stage_moves import head_moves, stage_moves
from planning.tiled_search.tile_tables import TileTables

# Chains that are improved side by side.
WIDTH = 4

# Rounds of row moves of one chain.
_ROUNDS = 12

# Rounds in which the ends of tiles are evened first.
_EVEN_ROUNDS = 6

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
        begun = {chain.key: chain for chain in (start.simplified() for start in starts)}
        found = self._best(list(begun.values()))
        assert found is not None
        best_value, best = found
        while self.work.left > 0:
            limit = best_value - abs(best_value) * _LEAST_GAIN
            found = self._best(self._new(stage_moves(self.tables, best)))
            if (found is None or found[0] >= limit) and self.work.left > 0:
                found = self._best(self._new(head_moves(self.tables, best)), limit)
            if found is None or found[0] >= limit:
                break
            best_value, best = found
        return best

    def _best(self, chains: Sequence[TiledChain], limit: float | None = None) -> tuple[float, TiledChain] | None:
        """Return the best chain with its score, after row moves of those that begin best; None if there is none.

        With a limit, only the best one gets row moves, and only if its score is below that as soon as its tiles are
        evened.
        """
        if not chains:
            return None
        values = self._evaluated(batch_of(chains))[0]
        ranked = np.argsort(values, kind="stable")[:WIDTH]
        possible = ranked[np.isfinite(values[ranked])]
        pool = self._evened([chains[place] for place in (possible if len(possible) else ranked[:1]).tolist()])
        if limit is not None:
            pool = [own for own in [min(pool, key=_score_of)] if own[0] < limit]
        if not pool:
            return None
        value, chain = min(self._settled(pool), key=_score_of)
        return value, chain.simplified()

    def _new(self, chains: Iterable[TiledChain]) -> list[TiledChain]:
        """Return the chains that the search has not met before."""
        new = {key: chain for chain in chains if (key := chain.key) not in self._seen}
        self._seen.update(new)
        return list(new.values())

    def _evaluated(self, batch: PlanBatch) -> tuple[Array, BatchCosts]:
        """Return [N] the scores of a batch, and its costs."""
        self.work.take(len(batch.stops), batch.stops.shape[1], len(self.tables.nodes))
        costs = batch_costs(self.tables, batch, with_loads=self.needs_loads)
        return self.score(costs), costs

    def _settled(self, pool: list[tuple[float, TiledChain]]) -> list[tuple[float, TiledChain]]:
        """Return chains, each with its score, after row moves as long as they help."""
        active = list(range(len(pool)))
        for _ in range(_ROUNDS):
            moves = [RowMoves(pool[place][1]) for place in active]
            pairs = [(place, own) for place, own in zip(active, moves, strict=True) if len(own.changes)]
            if not pairs or self.work.left <= 0:
                break
            active = self._moved(pool, pairs)
        return pool

    def _evened(self, chains: Sequence[TiledChain]) -> list[tuple[float, TiledChain]]:
        """Return chains, each with its score, after their tiles have been made to end at about the same time."""
        values, costs = self._evaluated(batch_of(chains))
        pool = list(zip(values.tolist(), chains, strict=True))
        times = [(costs.end_ms[:, :, place], costs.tile_ms[:, :, place]) for place in range(len(pool))]
        active = list(range(len(pool)))
        for _ in range(_EVEN_ROUNDS):
            trials = []
            for place in active:
                chain, (end_ms, tile_ms) = pool[place][1], times[place]
                batch = balanced(chain, end_ms[: len(chain.stops)], tile_ms[: len(chain.stops)])
                if batch is not None:
                    trials.append((place, batch))
            if not trials or self.work.left <= 0:
                break
            values, costs = self._evaluated(joined([batch for _, batch in trials]))
            active, begin = [], 0
            for place, batch in trials:
                own = values[begin : begin + len(batch.stops)]
                best = int(own.argmin())
                if own[best] < pool[place][0] * (1 - _LEAST_GAIN):
                    pool[place] = float(own[best]), batch.chain(best)
                    times[place] = costs.end_ms[:, :, begin + best], costs.tile_ms[:, :, begin + best]
                    active.append(place)
                begin += len(batch.stops)
        return pool

    def _moved(self, pool: list[tuple[float, TiledChain]], pairs: Sequence[tuple[int, RowMoves]]) -> list[int]:
        """Replace chains of ``pool`` by their best neighbours; return the places of those that have got better."""
        batches = [own.neighbours() for _, own in pairs]
        trials = []
        for (place, own), batch, scores in zip(pairs, batches, self._scores_of(batches), strict=True):
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
            for (place, batch), scores in zip(joint, self._scores_of([own for _, own in joint]), strict=True):
                first = int(scores.argmin())
                if scores[first] < pool[place][0]:
                    pool[place] = float(scores[first]), batch.chain(first)
        return [place for place, _ in trials]

    def _scores_of(self, batches: Sequence[PlanBatch]) -> list[Array]:
        values, _ = self._evaluated(joined(batches))
        return np.split(values, np.cumsum([len(own.stops) for own in batches])[:-1])


def _score_of(scored: tuple[float, TiledChain]) -> float:
    return scored[0]
