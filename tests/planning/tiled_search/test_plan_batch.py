"""Chains as routes and back, and several in one batch."""

import random

import numpy as np
import pytest

from planning.problem.plan import Route, Stage, Tile
from planning.tiled_search.batch_costs import batch_costs
from planning.tiled_search.plan_batch import TiledChain, batch_of, chain_of, joined, route_of
from tests.support.tiled_problems import random_chain, random_tiled_problem, tables_of, tiles_example


@pytest.mark.parametrize("seed", range(8))
def test_a_route_becomes_a_chain_and_the_same_route_again(seed: int) -> None:
    tables = tables_of(random_tiled_problem(seed))
    rng = random.Random(seed)
    for _ in range(5):
        route = route_of(tables, random_chain(rng, tables))
        chain = chain_of(tables, route)
        if chain is not None:
            assert route_of(tables, chain) == route


def test_tiles_in_opposite_orders_are_no_chain() -> None:
    tables = tables_of(tiles_example())
    upper = Stage(0, 6, (Tile("pi1", (0, 20)), Tile("nano", (20, 56))))
    lower = Stage(6, 21, (Tile("nano", (0, 1)), Tile("pi1", (1, 2))))
    assert chain_of(tables, Route((upper, lower))) is None
    assert chain_of(tables, Route((Stage(0, 21, (Tile("elsewhere"),)),))) is None


def test_batches_of_different_lengths_keep_their_chains() -> None:
    tables = tables_of(random_tiled_problem(2))
    rng = random.Random(2)
    chains = [random_chain(rng, tables) for _ in range(6)]
    batch = joined([batch_of(chains[:2]), batch_of(chains[2:5]), batch_of(chains[5:])])
    assert [batch.chain(place).key for place in range(6)] == [chain.key for chain in chains]
    assert batch.bounds.shape[1] == max(len(chain.stops) for chain in chains)
    assert np.array_equal(batch.stops[:, -1], [len(tables.units)] * 6)


def test_stages_that_follow_each_other_whole_on_one_node_are_joined() -> None:
    bounds = np.array([[0, 5, 8], [0, 8, 8], [0, 4, 4], [0, 0, 4], [0, 2, 4]])
    chain = TiledChain(np.arange(2), np.array([1, 2, 3, 4, 6]), bounds, np.array([0, 1, 0, 0, 1]))
    simple = chain.simplified()
    assert simple.stops.tolist() == [1, 3, 4, 6]
    assert simple.bounds.tolist() == [[0, 5, 8], [0, 4, 4], [0, 0, 4], [0, 2, 4]]
    assert simple.codecs.tolist() == [0, 0, 0, 1]
    assert simple.simplified() is simple


@pytest.mark.parametrize("seed", range(10))
def test_joined_stages_cost_no_more(seed: int) -> None:
    tables = tables_of(random_tiled_problem(seed))
    height, last = tables.heights, len(tables.units)
    rows = np.array([[0, 0, height[stop], height[stop]] for stop in (1, 2, last)])
    chain = TiledChain(np.arange(3), np.array([1, 2, last]), rows, np.zeros(3, dtype=np.int64))
    apart, joint = (batch_costs(tables, batch_of([own])) for own in (chain, chain.simplified()))
    assert joint.latency_ms[0] <= apart.latency_ms[0] * (1 + 1e-12)
    assert joint.memory_excess[0] <= apart.memory_excess[0]
