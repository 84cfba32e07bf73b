import random
from itertools import permutations

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.simulation.simulation import simulate
from planning.strategies.hps import Hps
from planning.strategies.jps import Jps
from planning.strategies.strategy import Strategy
from shared.policy import Objective, Policy


def _mix(rng: random.Random, jobs: int) -> Problem:
    """Two models on one phone, and a cloud that takes no time."""
    models, times = {}, {}
    for name in ("small", "large"):
        sizes = sorted((rng.randint(1, 40_000) for _ in range(4)), reverse=True)
        models[name] = Model(60_000, tuple(Block(f"b{index}", size) for index, size in enumerate([*sizes, 0])))
        times[name] = tuple(rng.uniform(1, 12) for _ in range(5))
    devices = {"phone": Device(times), "cloud": Device({name: (0.0,) * 5 for name in models})}
    streams = tuple(Stream(name, name, "phone", jobs=jobs) for name in models)
    return Problem(models, devices, (Link("phone", "cloud", 8.0),), streams, Policy(objective=Objective.MAKESPAN))


def _solve(strategy: Strategy, problem: Problem) -> Plan:
    answer = strategy.solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Plan)
    return answer


def test_union_order_is_the_best_of_all_for_its_cuts() -> None:
    rng = random.Random(1)
    for _ in range(15):
        problem = _mix(rng, 2)
        answer = _solve(Hps(), problem)
        costs = CostModel(problem)
        turns = set(permutations(["small", "small", "large", "large"]))
        assert answer.cost == pytest.approx(min(costs.makespan_ms(answer.streams, {}, order) for order in turns))
        assert answer.cost == pytest.approx(simulate(problem, answer).makespan_ms)


def test_on_average_hps_beats_jps_per_stream_and_joint_cuts_beat_hps() -> None:
    rng = random.Random(2)
    totals = [0.0, 0.0, 0.0]
    for _ in range(20):
        problem = _mix(rng, 5)
        strategies: tuple[Strategy, ...] = (Jps(), Hps(), Hps(joint=True))
        for index, strategy in enumerate(strategies):
            totals[index] += _solve(strategy, problem).cost
    assert totals[0] > totals[1] > totals[2]


def test_one_stream_is_plain_jps_without_its_guard() -> None:
    rng = random.Random(3)
    for _ in range(10):
        problem = _mix(rng, 4)
        single = Problem(problem.models, problem.devices, problem.links, problem.streams[:1], problem.policy)
        hps = _solve(Hps(), single)
        assert hps.turns == ()
        assert hps.cost == pytest.approx(_solve(Jps(guard=False), single).cost)
