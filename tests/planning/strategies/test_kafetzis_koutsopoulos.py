"""The greedy choice of cuts against the exact assignment, its starts, and the simulation."""

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan
from planning.queueing.event_loop import Rules
from planning.scheduling.shared_server import MAX_TASKS, Offload, QueueSnapshot
from planning.search.arrays import Array, Index
from planning.simulation.simulation import simulate
from planning.strategies.kafetzis_koutsopoulos import (
    RANDOM_STARTS,
    KafetzisKoutsopoulos,
    Start,
    greedy,
    starts,
)
from planning.strategies.rank_assignment import assign
from planning.strategies.registry import solve, with_strategy
from shared.policy import Objective, QueueDiscipline
from tests.support.shared_paths import INSTANCES
from tests.support.shared_server_problems import DISCIPLINES, delays_ms, random_tasks, station_problem


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_greedy_ends_where_no_single_step_helps(discipline: QueueDiscipline) -> None:
    rng = random.Random(f"greedy {discipline}")
    for _ in range(10):
        tasks = random_tasks(rng, 6, 5)
        _, exact = assign(tasks, discipline)

        def value(choice: list[int], tasks: list[Offload] = tasks) -> float:
            return float(delays_ms(tasks, choice, discipline).sum())

        def score(choices: Index, tasks: list[Offload] = tasks) -> Array:
            return np.asarray(QueueSnapshot(tasks, discipline).delays_ms(choices).sum(axis=1))

        ends = [value(greedy(tasks, start, score, 10_000)) for start in starts(tasks)]
        assert exact <= min(ends) + 1e-9
        assert all(value(greedy(tasks, start, score, 10_000)) <= value(start) for start in starts(tasks))


def test_starts_are_the_papers_two_this_projects_four_and_random_ones() -> None:
    tasks = random_tasks(random.Random(1), 3, 5)
    usual = list(starts(tasks))
    assert usual == [[1, 1, 1], [2, 2, 2], [4, 4, 4], [0, 0, 0]]
    assert [list(starts(tasks, start)) for start in (Start.ONES, Start.HALF)] == [usual[:1], usual[1:2]]
    many = list(starts(tasks, Start.MULTISTART, seed=4))
    assert many[:4] == usual
    assert 4 < len(many) <= 4 + RANDOM_STARTS
    assert many == list(starts(tasks, Start.MULTISTART, seed=4)) != list(starts(tasks, Start.MULTISTART, seed=5))


@pytest.mark.parametrize("queue", list(QueueDiscipline))
@pytest.mark.parametrize("objective", [Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE])
def test_answers_cost_what_the_simulation_gives(objective: Objective, queue: QueueDiscipline) -> None:
    problem = station_problem(5, objective, queue)
    for strategy in (KafetzisKoutsopoulos(), KafetzisKoutsopoulos(event_driven=True)):
        answer = strategy.solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(answer, Plan)
        timeline = simulate(problem, answer.streams, rules=Rules(answer.disciplines))
        expected = timeline.total_delay_ms if objective is Objective.TOTAL_DELAY else timeline.delay_variance_ms2
        assert answer.cost == pytest.approx(expected)


@pytest.mark.parametrize("objective", [Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE])
def test_more_starts_of_the_greedy_are_never_worse_in_its_own_view(objective: Objective) -> None:
    problem = read_problem((INSTANCES / "two_cameras_one_server.json").read_bytes())
    problem = replace(problem, policy=replace(problem.policy, objective=objective))
    name = "kafetzis_koutsopoulos"
    for few, many in product((f"{name}:from_ones", f"{name}:from_half"), (name, f"{name}:multistart")):
        less, more = (solve(with_strategy(problem, each)) for each in (few, many))
        assert isinstance(more, Plan)
        assert isinstance(less, Infeasible) or more.cost <= less.cost * (1 + 1e-9)


def test_background_processes_and_caps_are_those_of_the_paper() -> None:
    """Local computing takes 1 + n times as long (equation 1, small slots), and at most s stages are local."""
    problem = station_problem(4, Objective.TOTAL_DELAY, QueueDiscipline.SHORTEST_JOB_FIRST)
    caps, background = {"phone0": 1, "phone1": 3}, {"phone0": 2, "phone2": 1}
    devices = {
        name: replace(device, background_processes=background.get(name, 0), first_blocks=caps.get(name))
        for name, device in problem.devices.items()
    }
    changed = replace(problem, devices=devices)
    answer = KafetzisKoutsopoulos().solve(changed, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Plan)
    for name, plan in answer.streams.items():
        stages = plan.routes[0].stages
        source = changed.stream(name).source
        assert all(stage.stop <= caps.get(source, 5) for stage in stages if stage.device == source)
    # The simulation shares the processors in turn, without a word about how much longer that takes.
    rules = Rules(dict.fromkeys(background, QueueDiscipline.ROUND_ROBIN), background=background)
    queues = {**answer.disciplines, **rules.disciplines}
    timeline = simulate(problem, answer.streams, rules=replace(rules, disciplines=queues))
    assert answer.cost == pytest.approx(timeline.total_delay_ms)


def test_too_many_tasks_are_unsupported() -> None:
    problem = station_problem(2, Objective.TOTAL_DELAY, QueueDiscipline.FIFO)
    streams = tuple(replace(stream, jobs=MAX_TASKS) for stream in problem.streams)
    answer = KafetzisKoutsopoulos().solve(replace(problem, streams=streams), seed=0, time_budget_s=1.0)
    assert isinstance(answer, Infeasible)
    assert f"more than {MAX_TASKS}" in answer.reason
