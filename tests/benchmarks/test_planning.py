"""The problems of the planning benchmark, and the strategies that it compares at a shared server."""

import pytest

from benchmarks.planning import instances, random_problem, shared_server_problem, timed, weighed_for_a_server
from planning.problem.plan import Plan
from planning.scheduling.shared_server import offloads
from planning.strategies.registry import known_strategies
from shared.policy import Objective


def test_problems_are_the_same_for_the_same_seed() -> None:
    first, again, other = (random_problem(seed, 6, 3, Objective.MAKESPAN, 4) for seed in (1, 1, 2))
    assert first == again != other
    assert (len(first.models["m"].blocks), len(first.devices), first.streams[0].jobs) == (6, 3, 4)


def test_every_instance_has_a_name_of_its_own() -> None:
    names = [name for name, _ in instances()]
    assert len(set(names)) == len(names) > 50


def test_all_tasks_of_the_shared_server_can_reach_it() -> None:
    tasks = offloads(shared_server_problem(1, 9), "server")
    assert tasks is not None
    assert len(tasks) == 9


def test_at_a_shared_server_strategies_that_weigh_streams_are_compared() -> None:
    assert weighed_for_a_server().keys() == {"auto", "kafetzis_koutsopoulos", "rank_assignment", "local_only"}


@pytest.mark.parametrize("name", ["local_only", "shortest_path"])
def test_every_repeat_is_timed(name: str) -> None:
    problem = random_problem(0, 4, 2, Objective.LATENCY)
    answer, times_ms = timed(known_strategies()[name], problem, 3, 0.1)
    assert isinstance(answer, Plan)
    assert len(times_ms) == 3
