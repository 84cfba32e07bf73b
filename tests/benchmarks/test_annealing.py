"""The annealing's own simulation agrees with the cost model, and its figures are ratios to the best known plan."""

import json
import random
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.annealed_jobs import ProcessorTime, Steps, annealed
from benchmarks.annealing import Annealings, ratio, summary
from benchmarks.own_simulation import Job, OwnSimulation
from benchmarks.random_problem_files import OBJECTIVES, random_document
from planning.files.problem_file import read_problem
from planning.problem.job_order import start_places
from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.strategies.registry import solve


def _jobs(problem: Problem, plan: Plan) -> list[Job]:
    """The jobs of a plan in starting order."""
    places = start_places(plan.streams, plan.turns)
    jobs: list[Job] = []
    for index, stream in enumerate(problem.streams):
        routes = plan.streams[stream.name].jobs_in_order()
        jobs += [(index, tuple((stage.stop, stage.device, stage.codec) for stage in each.stages)) for each in routes]
    ranks = np.concatenate([places[stream.name] for stream in problem.streams])
    return [jobs[index] for index in np.argsort(ranks, kind="stable").tolist()]


@pytest.mark.parametrize("seed", range(2 * len(OBJECTIVES)))
def test_its_costs_are_those_of_the_cost_model(seed: int) -> None:
    document = random_document(seed)
    problem = read_problem(json.dumps(document).encode())
    answer = solve(problem, time_budget_s=0.02)
    assert isinstance(answer, Plan)
    world = OwnSimulation(document)
    assert world.cost(_jobs(problem, answer)) == pytest.approx(answer.cost, rel=1e-6, abs=1e-9)
    cost, jobs = annealed(world, Steps(300), random.Random(0))
    if jobs:
        assert world.cost(jobs) == cost
    else:
        assert cost == inf
    assert not answer.optimal or cost >= answer.cost * (1 - 1e-9)


def test_ratios_count_every_problem() -> None:
    rows: list[dict[str, Any]] = [
        {"objective": "makespan", "auto": 2.0, "annealing": 1.0, "optimal": False, "cpu_s": 3.0},
        {"objective": "makespan", "auto": 1.0, "annealing": None, "optimal": True, "cpu_s": 5.0},
        {"objective": "delay_variance", "auto": 4.0, "annealing": 1.0, "optimal": False, "cpu_s": 1.0},
        {"objective": "energy", "auto": None, "annealing": None, "optimal": None, "cpu_s": 0.4},
    ]
    assert [ratio(row) for row in rows] == [2.0, 1.0, 2.0, None]
    table = summary(rows)
    assert set(table) == {"makespan", "delay_variance"}
    assert (table["makespan"]["mean"], table["makespan"]["worst"], table["makespan"]["proved"]) == (1.5, 2.0, 1)
    assert table["makespan"]["slowest_cpu_s"] == 5.0


def test_annealing_keeps_its_time_and_known_costs(tmp_path: Path) -> None:
    document = random_document(3)
    kept = tmp_path / "annealed.jsonl"
    cost = Annealings(0.05, kept).cost(3, document)
    assert cost is not None
    world = OwnSimulation(document)
    assert annealed(world, ProcessorTime(0.05), random.Random(0))[0] < inf
    kept.write_text(kept.read_text().replace(str(cost), "7.5"))
    assert Annealings(0.05, kept).cost(3, document) == 7.5
    # Another time is another annealing.
    assert Annealings(0.06, kept).cost(3, document) != 7.5
