"""Moves of stages."""

import random

import numpy as np
import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint
from planning.search.result import same_route_for_all
from planning.tiled_search.plan_batch import TiledChain, route_of
from planning.tiled_search.stage_moves import head_moves, scaled, stage_moves, whole_on
from tests.support.tiled_problems import random_chain, random_tiled_problem, tables_of, tiles_example


@pytest.mark.parametrize("seed", range(10))
def test_every_move_gives_a_plan_that_can_be_split_so(seed: int) -> None:
    problem = random_tiled_problem(seed)
    tables, costs = tables_of(problem), CostModel(problem)
    chain = random_chain(random.Random(seed), tables)
    moved = [*stage_moves(tables, chain), *head_moves(tables, chain)]
    assert moved
    for own in moved:
        assert own.key != chain.key
        plans = {"s": same_route_for_all(route_of(tables, own), 1)}
        assert {each.constraint for each in violations(costs, plans)} <= {Constraint.CODEC}


def test_two_stages_can_be_joined_moved_and_divided_and_devices_leave() -> None:
    tables = tables_of(tiles_example())
    bounds = np.array([[0, 14, 28, 40, 56], [0, 7, 14, 20, 28], [0, 1, 1, 1, 1]])
    chain = TiledChain(np.arange(4), np.array([6, 10, 21]), bounds, np.zeros(3, dtype=np.int64))
    moved = list(stage_moves(tables, chain))
    ends = {tuple(own.stops.tolist()) for own in moved}
    # The last stage begins with blocks that can be split, so that a stage may end later.
    assert {(10, 21), (5, 10, 21), (7, 10, 21), (6, 12, 21), (3, 6, 10, 21), (6, 8, 10, 21)} <= ends
    # The last node leaves both stages, and its rows go to the others.
    assert any((own.bounds[:2, 3] == own.bounds[:2, 4]).all() for own in moved)
    assert any((own.order != chain.order).any() for own in moved)


def test_the_head_of_a_stage_is_shared_among_more_nodes_than_what_follows() -> None:
    tables = tables_of(tiles_example())
    bounds = np.array([[0, 28, 42, 56, 56], [0, 1, 1, 1, 1]])
    chain = TiledChain(np.arange(4), np.array([6, 21]), bounds, np.zeros(2, dtype=np.int64))
    moved = {(tuple(own.stops.tolist()), own.bounds[:-1].tobytes()) for own in head_moves(tables, chain)}
    # The third node leaves the last blocks of the split stage, and its rows go to the others.
    left = np.array([[0, 56, 84, 112, 112], [0, 37, 56, 56, 56]])
    assert ((4, 6, 21), left.tobytes()) in moved
    # The fourth node takes a part of the rows of the first blocks that run on one node.
    joined = np.array([[0, 28, 42, 56, 56], [0, 25, 25, 25, 28]])
    assert ((6, 10, 21), joined.tobytes()) in moved


def test_a_single_device_has_nobody_to_share_with() -> None:
    tables = tables_of(random_tiled_problem(0, devices=1))
    height = tables.heights[-1]
    chain = TiledChain(
        np.arange(1), np.array([len(tables.units)]), np.array([[0, height]]), np.zeros(1, dtype=np.int64)
    )
    assert not list(head_moves(tables, chain))


def test_boundaries_keep_their_proportions() -> None:
    assert scaled(np.array([0, 7, 14, 28]), 14).tolist() == [0, 4, 7, 14]
    assert whole_on(1, 3, 9).tolist() == [0, 0, 9, 9]
