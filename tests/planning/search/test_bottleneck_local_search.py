import random
from collections.abc import Callable

import numpy as np
import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.arrays import Array, Index
from planning.search.bottleneck_local_search import BottleneckLocalSearch
from planning.search.chain_path import Path
from planning.search.cost_tables import build_tables
from planning.search.limits import limits_of
from planning.search.result import same_route_for_all
from shared.policy import Objective, Policy


def test_ranks_are_the_bottlenecks_of_the_cost_model(make_problem: Callable[..., Problem]) -> None:
    """Without codecs there is one encoding, so that the devices define a route."""
    rng = random.Random("polish")
    possible = 0
    for index in range(60):
        problem = make_problem(rng, Objective.THROUGHPUT, constrained=index % 2 == 0)
        stream, costs = problem.streams[0], CostModel(problem)
        tables = build_tables(problem, stream)
        polish = BottleneckLocalSearch(tables, limits_of(problem, tables, 1.0), np.zeros(2 * len(tables.nodes)), 1.0)
        devices = np.array([[rng.randrange(len(tables.nodes)) for _ in range(tables.blocks)] for _ in range(8)])
        for row, worst_ms in zip(devices.tolist(), polish.ranks(devices)[0].tolist(), strict=True):
            route = tables.route(row, [0] * tables.blocks, 1)
            if violations(costs, {"s": same_route_for_all(route, 1)}):
                assert worst_ms == float("inf")
            else:
                assert worst_ms == pytest.approx(max(costs.busy_ms(stream, route).values(), default=0.0))
                possible += 1
    assert possible > 100


def test_improving_never_makes_it_worse_and_stops_when_the_work_is_used_up(
    make_problem: Callable[..., Problem],
) -> None:
    rng = random.Random("improve")
    for _ in range(20):
        problem = make_problem(rng, Objective.THROUGHPUT)
        stream = problem.streams[0]
        tables = build_tables(problem, stream)
        if not np.isfinite(tables.run_ms[tables.source]).all() or tables.sink not in (None, tables.source):
            continue
        local = Path(float(tables.run_ms[tables.source].sum() + tables.start_ms[tables.source]), [], [])
        start = Path(local.cost, [tables.source] * tables.blocks, [0] * tables.blocks)
        for budget_s in (0.0, 1.0):
            limits = limits_of(problem, tables, budget_s)
            end = BottleneckLocalSearch(tables, limits, np.zeros(2 * len(tables.nodes)), 1.0).improve(start)
            assert end.cost <= start.cost
            assert budget_s or end == start


class _Counting(BottleneckLocalSearch):
    """Notes how many blocks of neighbouring routes were held at once."""

    held = 0

    def ranks(self, devices: Index) -> tuple[Array, Array]:
        self.held = max(self.held, devices.size)
        return super().ranks(devices)


def test_no_more_neighbours_are_held_than_work_is_left_for() -> None:
    """Of 300 segments there are 45,000 swaps of 300 blocks: 13.5 million numbers; of 10,000 they fill any memory."""
    blocks = tuple(Block(f"b{index}", 1000) for index in range(300))
    devices = {name: Device({"m": (10.0,) * 300}) for name in ("a", "b", "c")}
    links = tuple(Link(one, other, 100.0) for one, other in ("ab", "ac", "bc"))
    problem = Problem({"m": Model(1000, blocks)}, devices, links, (Stream("s", "m", "a"),), Policy())
    tables = build_tables(problem, problem.streams[0])
    limits = limits_of(problem, tables, 0.1)
    polish = _Counting(tables, limits, np.zeros(6), 1.0)
    start = Path(float("inf"), [index % 3 for index in range(300)], [0] * 300)
    assert polish.improve(start).cost < start.cost
    assert 0 < polish.held <= limits.local_search_limit < 13_500_000
