import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from planning.cost.constraints import memory_violations
from planning.files.problem_file import read_problem
from planning.problem.plan import Constraint, Infeasible, Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.result import same_route_for_all
from planning.strategies.exhaustive import Exhaustive, every_route
from planning.strategies.milp import Milp
from planning.strategies.shortest_path import ShortestPath
from shared.policy import Objective, Policy
from tests.support.shared_paths import INSTANCES

OBJECTIVES = [Objective.LATENCY, Objective.ENERGY, Objective.THROUGHPUT, Objective.DEADLINE]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_stream_equals_the_label_search(make_problem: Callable[..., Problem], objective: Objective) -> None:
    rng = random.Random(f"milp {objective}")
    for index in range(25):
        problem = make_problem(rng, objective, constrained=index % 2 == 0, codecs=index % 3 == 0, most_blocks=4)
        ours = Milp().solve(problem, seed=0, time_budget_s=1.0)
        theirs = ShortestPath().solve(problem, seed=0, time_budget_s=1.0)
        if isinstance(theirs, Infeasible):
            assert isinstance(ours, Infeasible)
            assert ours.reasons
            continue
        assert isinstance(ours, Plan)
        assert ours.optimal
        assert ours.cost == pytest.approx(theirs.cost, rel=1e-6, abs=1e-9)


def _two_streams(objective: Objective, memory_bytes: float | None) -> Problem:
    rng = random.Random(f"{objective} {memory_bytes}")
    models = {
        name: Model(9000, tuple(Block(f"b{index}", rng.randint(1, 9000), parameter_bytes=100) for index in range(3)))
        for name in ("m", "n")
    }
    times = {name: tuple(rng.uniform(5, 20) for _ in range(3)) for name in models}
    fast = {name: tuple(rng.uniform(1, 4) for _ in range(3)) for name in models}
    server = Device(fast, memory_bytes=memory_bytes, power_active_w=1.0)
    devices = {"a": Device(times, power_active_w=3.0), "b": Device(times, power_active_w=3.0), "server": server}
    links = (Link("a", "server", 20.0), Link("b", "server", 10.0))
    streams = (Stream("s", "m", "a"), Stream("t", "n", "b"))
    return Problem(models, devices, links, streams, Policy(objective=objective))


@pytest.mark.parametrize("memory_bytes", [None, 9_400.0, 9_250.0])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_streams_that_share_equal_brute_force(objective: Objective, memory_bytes: float | None) -> None:
    problem = _two_streams(objective, memory_bytes)
    ours = Milp().solve(problem, seed=0, time_budget_s=1.0)
    best = Exhaustive().solve(problem, seed=0, time_budget_s=10.0)
    assert isinstance(ours, Plan)
    assert isinstance(best, Plan)
    assert ours.optimal
    assert ours.cost == pytest.approx(best.cost, rel=1e-6)


def test_shared_memory_is_used_better_than_in_turn() -> None:
    problem = read_problem((INSTANCES / "two_cameras_one_server.json").read_bytes())
    ours = Milp().solve(problem, seed=0, time_budget_s=1.0)
    in_turn = ShortestPath().solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(ours, Plan)
    assert isinstance(in_turn, Plan)
    assert ours.optimal
    assert ours.cost <= in_turn.cost + 1e-9


def test_streams_that_cannot_fit_together() -> None:
    """The sources hold nothing, and the server holds the blocks of either stream, but not of both."""
    problem = _two_streams(Objective.LATENCY, 9_250.0)
    memory_bytes = {"a": 50.0, "b": 50.0, "server": 9_200.0}
    devices = {name: replace(device, memory_bytes=memory_bytes[name]) for name, device in problem.devices.items()}
    problem = replace(problem, devices=devices)
    for stream in problem.streams:
        assert isinstance(Milp().solve(replace(problem, streams=(stream,)), seed=0, time_budget_s=1.0), Plan)
    answer = Milp().solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Infeasible)
    assert answer.proved
    together, least = answer.reasons
    assert together.message == "the streams do not fit together"
    # With the best of all plans the parameters of one model are too many.
    assert least.constraint is Constraint.MEMORY
    assert least.excess == pytest.approx(_least_excess(problem))


def _least_excess(problem: Problem) -> float:
    """Return the least sum of missing memory over all plans with one route per stream, by brute force."""
    devices = {name: replace(device, memory_bytes=None) for name, device in problem.devices.items()}
    roomy = replace(problem, devices=devices)
    routes = [[same_route_for_all(route, 1) for route in every_route(roomy, stream)] for stream in problem.streams]
    names = [stream.name for stream in problem.streams]
    plans = (dict(zip(names, chosen, strict=True)) for chosen in product(*routes))
    return min(sum(each.excess or 0.0 for each in memory_violations(problem, plan)) for plan in plans)


def test_what_is_not_linear_or_too_large_is_not_supported() -> None:
    makespan = Milp().solve(_two_streams(Objective.MAKESPAN, None), seed=0, time_budget_s=1.0)
    large = Milp(max_variables=3).solve(_two_streams(Objective.LATENCY, None), seed=0, time_budget_s=1.0)
    for answer in (makespan, large):
        assert isinstance(answer, Infeasible)
        assert [reason.constraint for reason in answer.reasons] == [Constraint.SUPPORT]


def test_what_is_too_large_is_refused_before_its_arrays_fill_the_memory() -> None:
    """Arrays of 40 streams over 100 devices each take 33 MB; those of 1,000 streams over 1,000 devices 80 GB."""
    names = [f"d{index}" for index in range(100)]
    devices = {name: Device({"m": (1.0,) * 10}) for name in names}
    links = tuple(Link(names[0], name, 10.0) for name in names[1:])
    blocks = tuple(Block(f"b{index}", 1000) for index in range(10))
    streams = tuple(Stream(f"s{index}", "m", names[1 + index]) for index in range(40))
    problem = Problem({"m": Model(1000, blocks)}, devices, links, streams, Policy())
    tracemalloc.start()
    answer = Milp().solve(problem, seed=0, time_budget_s=1.0)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(answer, Infeasible)
    assert "about 4000000 variables" in answer.reason
    assert most_bytes < 5_000_000
