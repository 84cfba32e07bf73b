import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Plan, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.burst_planning import sequence_plan
from planning.strategies.burst import Burst
from planning.strategies.jps import Jps
from planning.strategies.local_only import LocalOnly
from planning.strategies.neurosurgeon import Neurosurgeon
from planning.strategies.registry import solve, with_strategy
from planning.strategies.remote_only import RemoteOnly
from shared.policy import Objective, Policy
from tests.support.shared_paths import INSTANCES


def _example(jobs: int) -> Problem:
    """The worked example of Duan & Wu: at 8 Mbps a thousand bytes take a millisecond; the cloud takes no time."""
    f, g = (6.7, 9.8, 16.5), (27_200, 9_500, 6_400)
    times = (f[0], f[1] - f[0], f[2] - f[1], 50.0)
    blocks = (*(Block(f"l{index}", size) for index, size in enumerate(g)), Block("rest", 0))
    devices = {"phone": Device({"m": times}), "cloud": Device({"m": (0.0,) * 4})}
    stream = Stream("s", "m", "phone", jobs=jobs)
    policy = Policy(objective=Objective.MAKESPAN)
    return Problem({"m": Model(1_000_000, blocks)}, devices, (Link("phone", "cloud", 8.0),), (stream,), policy)


def test_worked_example() -> None:
    answer = Jps().solve(_example(3), seed=0, time_budget_s=1.0)
    assert isinstance(answer, Plan)
    assert answer.cost == pytest.approx(38.9)
    assert [route.stages[0].stop for route in answer.streams["s"].routes] == [2]


@pytest.mark.parametrize("jobs", [1, 2, 5, 10, 60])
def test_never_worse_than_the_baselines_and_never_better_than_the_burst(jobs: int) -> None:
    for problem in (_example(jobs), read_problem((INSTANCES / "alexnet_burst_4g.json").read_bytes())):
        jps = Jps().solve(problem, seed=0, time_budget_s=1.0)
        burst = Burst().solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(jps, Plan)
        assert isinstance(burst, Plan)
        for baseline in (LocalOnly(), RemoteOnly(), Neurosurgeon()):
            other = baseline.solve(problem, seed=0, time_budget_s=1.0)
            assert isinstance(other, Plan)
            assert jps.cost <= other.cost + 1e-9
        assert burst.cost <= jps.cost + 1e-9


def test_order_of_a_sequence() -> None:
    a, b = sequential_route([(0, 2, "x", "raw")]), sequential_route([(0, 2, "y", "raw")])
    plan = sequence_plan([b, a, b])
    assert [route.stages for route in plan.jobs_in_order()] == [b.stages, a.stages, b.stages]
    assert [route.jobs for route in plan.routes] == [2, 1]


def test_as_printed_the_floored_ratio_forgets_the_mix() -> None:
    problem = read_problem((INSTANCES / "alexnet_burst_4g.json").read_bytes())
    costs = {}
    for name in ("jps", "jps:as_printed", "jps:brute_force"):
        answer = solve(with_strategy(problem, name))
        assert isinstance(answer, Plan)
        costs[name] = answer.cost
    assert costs["jps:brute_force"] <= costs["jps"] <= costs["jps:as_printed"]
