"""What the variants of published strategies do differently."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.strategies.registry import known_strategies, solve, strategies, with_strategy
from shared.policy import Objective, Policy
from tests.support.shared_paths import INSTANCES


def _read(name: str) -> Problem:
    return read_problem((INSTANCES / f"{name}.json").read_bytes())


def _solve(problem: Problem, name: str, time_budget_s: float = 1.0) -> Plan:
    answer = solve(with_strategy(problem, name), time_budget_s=time_budget_s)
    assert isinstance(answer, Plan), answer
    return answer


def test_every_variant_belongs_to_a_strategy_and_says_what_is_different() -> None:
    own = strategies()
    variants = {name: strategy for name, strategy in known_strategies().items() if name not in own}
    assert len(variants) == 16
    for name, variant in variants.items():
        base = own[name.partition(":")[0]]
        assert variant != base
        assert variant.description != base.description


def test_brute_force_is_never_beaten_by_two_cuts() -> None:
    rng = random.Random(3)
    for _ in range(100):
        problem = _burst(rng)
        exact = _solve(problem, "jps:brute_force").cost
        for name in ("jps", "jps:as_printed", "jps:unguarded", "local_only", "remote_only"):
            assert exact <= _solve(problem, name).cost * (1 + 1e-9)


def _burst(rng: random.Random) -> Problem:
    """Return a burst whose server takes no time, which the paper neglects."""
    blocks = rng.randint(2, 5)
    sizes = [Block(f"b{index}", rng.uniform(1e3, 1e6)) for index in range(blocks)]
    devices = {
        "camera": Device({"m": tuple(rng.uniform(1, 20) for _ in range(blocks))}),
        "server": Device({"m": (0.0,) * blocks}),
    }
    return Problem(
        models={"m": Model(rng.uniform(1e4, 1e6), tuple(sizes))},
        devices=devices,
        links=(Link("camera", "server", rng.uniform(5, 100)),),
        streams=(Stream("s", "m", "camera", jobs=rng.randint(2, 5)),),
        policy=Policy(Objective.MAKESPAN),
    )


def test_brute_force_says_when_a_burst_is_too_large() -> None:
    problem = _read("alexnet_burst_4g")
    large = replace(problem, streams=(replace(problem.streams[0], jobs=10_000),))
    answer = solve(with_strategy(large, "jps:brute_force"))
    assert isinstance(answer, Infeasible)
    assert "choices of cuts" in answer.reason


def test_as_printed_the_floored_ratio_forgets_the_mix() -> None:
    problem = _read("alexnet_burst_4g")
    assert _solve(problem, "jps:as_printed").cost >= _solve(problem, "jps").cost
    assert _solve(problem, "jps:brute_force").cost <= _solve(problem, "jps").cost


def test_more_cuts_keep_more_blocks_at_the_source() -> None:
    problem = _read("vgg16_three_devices_deadline")
    pooled, every = (_solve(problem, name).streams["headset"] for name in ("hu_mishra", "hu_mishra:all_cuts"))
    kept = [plan.routes[0].stages[0].stop for plan in (pooled, every)]
    assert kept[0] <= kept[1]


def test_both_loads_of_dads_can_be_asked_for(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random(8)
    differ = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY)
        light, heavy = (solve(with_strategy(problem, f"dads:{load}_load")) for load in ("light", "heavy"))
        if isinstance(light, Plan) and isinstance(heavy, Plan):
            assert light.cost <= heavy.cost * (1 + 1e-9)
            differ += light.streams != heavy.streams
    assert differ


@pytest.mark.parametrize("objective", [Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE])
def test_more_starts_of_the_greedy_are_never_worse_in_its_own_view(objective: Objective) -> None:
    problem = _read("two_cameras_one_server")
    problem = replace(problem, policy=replace(problem.policy, objective=objective))
    name = "kafetzis_koutsopoulos"
    for few, many in product((f"{name}:from_ones", f"{name}:from_half"), (name, f"{name}:multistart")):
        answer = solve(with_strategy(problem, few))
        assert isinstance(answer, Infeasible) or _solve(problem, many).cost <= answer.cost * (1 + 1e-9)
