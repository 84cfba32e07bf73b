"""Costs of many plans at once, against the simulation of each."""

import random
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from planning.cost.constraints import memory_bytes, violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint
from planning.search.result import same_route_for_all
from planning.tiled_search.batch_costs import batch_costs
from planning.tiled_search.plan_batch import TiledChain, batch_of, route_of
from tests.support.tiled_problems import random_chain, random_tiled_problem, tables_of

# Sums are added in another order than in the simulation.
ROUNDING = 1e-11


@pytest.mark.parametrize("seed", range(24))
def test_every_cost_is_that_of_the_simulation(seed: int) -> None:
    rng = random.Random(seed)
    problem = random_tiled_problem(seed, devices=rng.randint(2, 4))
    tables, costs, stream = tables_of(problem), CostModel(problem), problem.streams[0]
    chains = [random_chain(rng, tables) for _ in range(12)]
    found = batch_costs(tables, batch_of(chains))
    evaluated = 0
    for place, chain in enumerate(chains):
        route = route_of(tables, chain)
        own = costs.route_cost(stream, route)
        # Plans whose stages are not served in order are left out.
        if found.latency_ms[place] < inf:
            evaluated += 1
            assert found.latency_ms[place] == pytest.approx(own.latency_ms, rel=ROUNDING)
        assert found.loads is not None
        assert found.loads.bottleneck_ms[place] == pytest.approx(max(own.server_ms.values()), rel=ROUNDING)
        assert found.loads.energy_j[place] == pytest.approx(own.energy_j, rel=ROUNDING)
        assert found.loads.off_source_blocks[place] == pytest.approx(costs.off_source_blocks(stream, route))
        assert found.devices[place] == len(route.devices)
    assert evaluated >= 9


def test_a_batch_of_one_order_costs_the_same_as_its_chains_alone() -> None:
    rng = random.Random(5)
    tables = tables_of(random_tiled_problem(5))
    chains = [replace(random_chain(rng, tables), order=np.arange(3)) for _ in range(6)]
    together = batch_costs(tables, batch_of(chains))
    alone = [batch_costs(tables, batch_of([chain])) for chain in chains]
    assert together.latency_ms.tolist() == [own.latency_ms[0] for own in alone]
    assert together.ready_ms.tolist() == pytest.approx([own.ready_ms[0] for own in alone])


@pytest.mark.parametrize("seed", range(6))
def test_memory_is_exceeded_by_the_same_share(seed: int) -> None:
    rng = random.Random(seed)
    problem = random_tiled_problem(seed)
    devices = {name: replace(device, memory_bytes=2e4) for name, device in problem.devices.items()}
    problem = replace(problem, devices=devices)
    tables = tables_of(problem)
    chains = [random_chain(rng, tables) for _ in range(8)]
    found = batch_costs(tables, batch_of(chains)).memory_excess
    for place, chain in enumerate(chains):
        need = memory_bytes(problem, {"s": same_route_for_all(route_of(tables, chain), 1)})
        assert found[place] == pytest.approx(max(0.0, max(need.values()) / 2e4 - 1))


def _violated(problem: object, tables: object, chain: TiledChain) -> set[Constraint]:
    plans = {"s": same_route_for_all(route_of(tables, chain), 1)}  # type: ignore[arg-type]
    return {each.constraint for each in violations(CostModel(problem), plans)}  # type: ignore[arg-type]


def test_a_plan_with_a_forbidden_device_or_without_a_link_costs_inf() -> None:
    rng = random.Random(1)
    whole = random_tiled_problem(1)
    capped = replace(whole, devices={**whole.devices, "d1": replace(whole.devices["d1"], first_blocks=2)})
    unlinked = replace(whole, links=whole.links[1:])
    stays = replace(whole, policy=replace(whole.policy, raw_input_stays_on_source=True))
    for problem in (capped, unlinked, stays):
        tables = tables_of(problem)
        chains = [random_chain(rng, tables) for _ in range(30)]
        found = batch_costs(tables, batch_of(chains)).latency_ms
        usual = batch_costs(tables_of(whole), batch_of(chains)).latency_ms
        broken = [bool(_violated(problem, tables, chain)) for chain in chains]
        assert True in broken
        assert (np.isinf(found) | np.isinf(usual)).tolist() == (np.array(broken) | np.isinf(usual)).tolist()
