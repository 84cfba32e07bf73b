import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.strategies.masud import Masud
from planning.strategies.registry import strategies
from planning.strategies.shortest_path import ShortestPath
from shared.policy import CodecMode, Objective, Policy
from tests.support.shared_paths import REPOSITORY


def _plan(answer: object) -> Plan:
    assert isinstance(answer, Plan)
    return answer


def test_latency_alone_is_the_shortest_path(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("masud")
    solved = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY)
        best = ShortestPath().solve(problem, seed=0, time_budget_s=1.0)
        if isinstance(best, Plan):
            ours = _plan(Masud(latency_weight=1.0).solve(problem, seed=0, time_budget_s=1.0))
            assert ours.cost == pytest.approx(best.cost)
            solved += 1
    assert solved > 15


def _pipeline() -> Problem:
    """Two equal boards on a fast link: alone for latency, half and half for throughput (as MA-2 measured)."""
    blocks = tuple(Block(f"b{index}", 1000) for index in range(6))
    devices = {name: Device({"m": (10.0,) * 6}, power_active_w=watts) for name, watts in (("a", 5.0), ("b", 1.0))}
    return Problem({"m": Model(1000, blocks)}, devices, (Link("a", "b", 100.0),), (Stream("s", "m", "a"),), Policy())


def _stages(plan: Plan) -> list[tuple[int, str]]:
    return [(stage.stop, stage.device) for stage in plan.streams["s"].routes[0].stages]


def test_weights_decide_between_latency_bottleneck_and_energy() -> None:
    def solve(latency_weight: float, energy_weight_ms_per_j: float = 0.0) -> Plan:
        strategy = Masud(latency_weight=latency_weight, energy_weight_ms_per_j=energy_weight_ms_per_j)
        return _plan(strategy.solve(_pipeline(), seed=0, time_budget_s=1.0))

    quickest = solve(latency_weight=1.0)
    assert _stages(quickest) == [(6, "a")]
    assert _stages(solve(latency_weight=0.0)) == [(3, "a"), (6, "b")]
    frugal = solve(latency_weight=1.0, energy_weight_ms_per_j=1e4)
    assert frugal.predicted.energy_j < 0.5 * quickest.predicted.energy_j


@pytest.mark.parametrize("name", ["masud", "masud_learned"])
def test_what_is_sent_travels_in_the_encoding_that_is_there_soonest(name: str) -> None:
    text = (REPOSITORY / "tests" / "instances" / "alexnet_encoded.json").read_bytes()
    encoded = read_problem(text, strategies=strategies())
    lossless = replace(encoded, policy=replace(encoded.policy, codec=CodecMode.LOSSLESS))
    plan, plain = (strategies()[name].solve(each, seed=0, time_budget_s=0.3) for each in (encoded, lossless))
    assert isinstance(plan, Plan)
    assert isinstance(plain, Plan)
    assert plan.streams["camera"].routes[0].stages[0].codec == "int8"
    assert plan.cost < plain.cost


def test_models_of_so_many_blocks_that_their_segments_fill_the_memory_are_refused_by_name() -> None:
    blocks = tuple(Block(f"b{index}", 1000) for index in range(5000))
    devices = {name: Device({"m": (10.0,) * 5000}) for name in ("a", "b")}
    problem = Problem({"m": Model(1000, blocks)}, devices, (Link("a", "b", 100.0),), (Stream("s", "m", "a"),), Policy())
    answer = Masud().solve(problem, seed=0, time_budget_s=1.0)
    assert not isinstance(answer, Plan)
    assert answer.reason == "masud: 50000000 segments to compare, more than 10000000"
