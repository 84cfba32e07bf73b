"""What every published strategy with tiles promises, on random problems."""

import random
from dataclasses import replace

import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem
from planning.strategies.built_in import BUILT_IN, BuiltIn
from planning.strategies.spatial.spatial_baseline import MAX_ROW_BLOCKS
from planning.tiles.rows import output_rows
from tests.support.spatial_problems import meshed, random_spatial_problem, row_chain, without_rows

SPATIAL = [entry for entry in BUILT_IN if entry.target.startswith("spatial.")]


def every_row_once(problem: Problem, route: Route) -> None:
    """Check that the stages hold every block, and their tiles every row once, in order, on different devices."""
    model = problem.models["m"]
    assert [stage.start for stage in route.stages] == [0, *(stage.stop for stage in route.stages[:-1])]
    assert route.stages[-1].stop == len(model.blocks)
    for stage in route.stages:
        devices = [tile.device for tile in stage.tiles]
        assert len(set(devices)) == len(devices)
        if stage.tiled:
            rows = [row for tile in stage.tiles if tile.rows for row in range(*tile.rows)]
            assert rows == list(range(output_rows(model, stage.start, stage.stop)))


@pytest.mark.parametrize("entry", SPATIAL, ids=lambda entry: entry.name)
def test_plans_make_every_row_once_and_keep_the_constraints(entry: BuiltIn) -> None:
    strategy, rng = entry.load(), random.Random("spatial")
    plans = tiled = 0
    for _ in range(25):
        problem = random_spatial_problem(rng)
        answer = strategy.solve(problem, seed=1, time_budget_s=0.01)
        if isinstance(answer, Infeasible):
            assert answer.reasons
            continue
        plans += 1
        (route,) = answer.streams["s"].routes
        every_row_once(problem, route)
        costs = CostModel(problem)
        assert violations(costs, answer.streams) == ()
        assert answer.cost == pytest.approx(costs.latency_ms(problem.streams[0], route))
        tiled += route.tiled
        assert strategy.solve(problem, seed=1, time_budget_s=0.01) == answer
    assert plans > 6
    assert (tiled > 2) == (strategy.name != "offload")


@pytest.mark.parametrize("entry", SPATIAL, ids=lambda entry: entry.name)
@pytest.mark.parametrize("able", [("d0", "d1"), ("d1",), ()])
def test_devices_without_tiles_are_not_split(entry: BuiltIn, able: tuple[str, ...]) -> None:
    problem = meshed(row_chain([(3, 1, 1, 8), (1, 1, 0, 8)], input_rows=8), [9.0, 9.0, 5.0], [50] * 3)
    devices = {
        name: device if name in able else replace(device, untiled_models=("m",))
        for name, device in problem.devices.items()
    }
    problem = replace(problem, devices=devices)
    answer = entry.load().solve(problem, seed=0, time_budget_s=0.01)
    assert isinstance(answer, Plan)
    assert violations(CostModel(problem), answer.streams) == ()
    (route,) = answer.streams["s"].routes
    assert set(route.devices) <= ({*able} if len(able) > 1 else {"d2"})


@pytest.mark.parametrize("entry", SPATIAL, ids=lambda entry: entry.name)
def test_without_rows_the_fastest_device_runs_everything(entry: BuiltIn) -> None:
    problem = without_rows(meshed(row_chain([(3, 1, 1, 8), (1, 1, 0, 8)], input_rows=8), [9.0, 4.0, 5.0], [50] * 3))
    answer = entry.load().solve(problem, seed=0, time_budget_s=0.01)
    assert isinstance(answer, Plan)
    (route,) = answer.streams["s"].routes
    assert [(stage.start, stage.stop, stage.device) for stage in route.stages] == [(0, 2, "d1")]


@pytest.mark.parametrize("entry", SPATIAL, ids=lambda entry: entry.name)
def test_models_of_too_many_layers_are_refused(entry: BuiltIn) -> None:
    model = row_chain([(1, 1, 0, 4)] * (MAX_ROW_BLOCKS + 1), input_rows=4)
    answer = entry.load().solve(meshed(model, [1.0, 1.0], [50] * 2), seed=0, time_budget_s=0.01)
    assert isinstance(answer, Infeasible)
    assert answer.reason == f"{entry.name}: model m has 151 blocks with rows, more than 150"
