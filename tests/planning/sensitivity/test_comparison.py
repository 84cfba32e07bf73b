from dataclasses import replace

import pytest

from planning.problem.plan import Constraint, Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.sensitivity.comparison import binding_constraints, overturning_changes
from planning.strategies.registry import solve
from shared.policy import DeviceRule, Policy

PROBLEM = Problem(
    {"m": Model(1000, (Block("x", 0),))},
    {"a": Device({"m": (5.0,)}), "b": Device({"m": (1.0,)})},
    (Link("a", "b", 8.0),),
    (Stream("s", "m", "a"),),
)


def test_changes_by_hand() -> None:
    """Remote takes 1 + 8 / B at load 1 and L + 1 at 8 Mbps; local 5 L."""
    found = {change.quantity: change for change in overturning_changes(PROBLEM, PROBLEM.streams[0])}
    bandwidth = found["bandwidth a - b"]
    assert bandwidth.low == pytest.approx(2.0)
    assert bandwidth.above is None
    assert bandwidth.below is not None
    assert bandwidth.below.devices == ("a",)
    assert found["load factor of b"].high == pytest.approx(4.0)
    assert found["load factor of a"].low == pytest.approx(0.4)


def test_binding_constraint_has_its_price() -> None:
    problem = replace(PROBLEM, policy=Policy(devices=DeviceRule(deny=("b",)), max_devices=1))
    plan = solve(problem)
    assert isinstance(plan, Plan)
    (binding,) = binding_constraints(problem, plan, 0.1)
    assert (binding.constraint, binding.cost) == (Constraint.DEVICES, 2.0)
