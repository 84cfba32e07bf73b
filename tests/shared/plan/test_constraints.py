from dataclasses import replace

from shared.plan.constraints import memory_bytes, violations
from shared.plan.cost import CostModel
from shared.plan.plan import Constraint, StreamPlan, sequential_route
from shared.plan.policy import DeviceRule, Policy
from shared.plan.problem import Block, Device, Link, Model, Problem, Stream

BLOCKS = (Block("x", 100, parameter_bytes=10), Block("y", 40, parameter_bytes=20, activation_bytes=300))
PROBLEM = Problem(
    {"m": Model(50, BLOCKS)},
    {"a": Device({"m": (1.0, 2.0)}), "b": Device({"m": (1.0, 2.0)}, memory_bytes=400), "c": Device()},
    (Link("a", "b", 8.0),),
    (Stream("s", "m", "a"),),
)
SPLIT = {"s": StreamPlan((sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")]),))}


def _broken(problem: Problem, plans: dict[str, StreamPlan] = SPLIT) -> list[tuple[Constraint, float | None]]:
    return [(violation.constraint, violation.excess) for violation in violations(CostModel(problem), plans)]


def test_a_good_plan_breaks_nothing() -> None:
    assert _broken(PROBLEM) == []


def test_memory_is_parameters_plus_largest_activation() -> None:
    assert memory_bytes(PROBLEM, SPLIT) == {"a": 110, "b": 320}
    device = replace(PROBLEM.devices["b"], memory_bytes=300)
    assert _broken(replace(PROBLEM, devices={**PROBLEM.devices, "b": device})) == [(Constraint.MEMORY, 20)]


def test_a_shared_segment_is_held_once_and_different_ones_add_up() -> None:
    routes = (sequential_route([(0, 2, "a", "raw")]), sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")]))
    plans = {"s": StreamPlan(routes, (0, 1)), "t": StreamPlan(routes, (0, 1))}
    problem = replace(PROBLEM, streams=(PROBLEM.streams[0], Stream("t", "m", "a")))
    assert memory_bytes(problem, plans) == {"a": 10 + 30 + 300, "b": 320}


def test_deadline_is_the_stricter_one() -> None:
    stream = replace(PROBLEM.streams[0], deadline_ms=3.0)
    problem = replace(PROBLEM, streams=(stream,), policy=Policy(deadline_ms=1.0))
    assert _broken(problem) == [(Constraint.DEADLINE, 1.0 + 0.1 + 2.0 - 1.0)]


def test_policy_rules_about_devices() -> None:
    assert _broken(replace(PROBLEM, policy=Policy(devices=DeviceRule(deny=("b",))))) == [(Constraint.DEVICES, None)]
    assert _broken(replace(PROBLEM, policy=Policy(max_devices=1))) == [(Constraint.MAX_DEVICES, 1)]
    remote = {"s": StreamPlan((sequential_route([(0, 2, "b", "raw")]),))}
    assert _broken(PROBLEM, remote) == []
    assert _broken(replace(PROBLEM, policy=Policy(raw_input_stays_on_source=True)), remote) == [
        (Constraint.RAW_INPUT, None)
    ]


def test_everything_that_is_wrong_is_told() -> None:
    lost = {"s": StreamPlan((sequential_route([(0, 1, "b", "int8"), (1, 2, "c", "raw")]),))}
    found = [constraint for constraint, _ in _broken(PROBLEM, lost)]
    assert found == [Constraint.ROUTE, Constraint.ROUTE, Constraint.CODEC]
