"""Shares of time that plans keep devices busy."""

from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.cost.utilisation import busiest, describe_resource, overload_warning, utilisation
from planning.problem.plan import StreamPlan, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.queueing.operations import Work
from shared.policy import Objective, Policy

PROBLEM = Problem(
    models={"m": Model(10.0, (Block("a", 100_000), Block("b", 0)))},
    devices={"pi": Device({"m": (20.0, 60.0)}), "server": Device({"m": (2.0, 6.0)})},
    links=(Link("pi", "server", 8.0, 0.0),),
    streams=(Stream("left", "m", "pi"), Stream("right", "m", "pi", rate_hz=20.0)),
)
SPLIT = StreamPlan((sequential_route([(0, 1, "pi", "raw"), (1, 2, "server", "raw")]),))
MIXED = StreamPlan(
    (
        sequential_route([(0, 2, "pi", "raw")], jobs=1),
        sequential_route([(0, 1, "pi", "raw"), (1, 2, "server", "raw")], jobs=3),
    ),
    order=(0, 1, 2, 3),
)


def test_every_resource_has_its_share() -> None:
    shares = utilisation(CostModel(PROBLEM), {"left": SPLIT}, {"left": 5.0})
    assert shares["pi", Work.COMPUTE] == pytest.approx(0.1)
    assert shares["pi", Work.SEND] == pytest.approx(0.5)
    assert shares["server", Work.COMPUTE] == pytest.approx(0.03)
    found = busiest(shares)
    assert found is not None
    assert found[0] == ("pi", Work.SEND)
    assert found[1] == pytest.approx(0.5)


def test_streams_add_up_and_routes_weigh() -> None:
    shares = utilisation(CostModel(PROBLEM), {"left": SPLIT, "right": MIXED}, {"left": 5.0, "right": 4.0})
    assert shares["pi", Work.COMPUTE] == pytest.approx(0.1 + 1 * 0.08 + 3 * 0.02)
    assert shares["pi", Work.SEND] == pytest.approx(0.5 + 3 * 0.1)


def test_a_stream_without_a_rate_counts_nothing() -> None:
    assert set(utilisation(CostModel(PROBLEM), {"left": SPLIT}, {}).values()) == {0.0}
    assert busiest({}) is None


def test_resources_have_words() -> None:
    assert describe_resource(("pi", Work.COMPUTE)) == "device pi"
    assert describe_resource(("pi", Work.SEND)) == "sending from pi"


def test_a_plan_that_does_not_keep_up_is_told() -> None:
    doubt = overload_warning(PROBLEM, {"right": SPLIT})
    assert doubt is not None
    assert "sending from pi would be busy 200% of the time" in doubt
    assert "objective" in doubt
    for_rate = replace(PROBLEM, policy=Policy(objective=Objective.THROUGHPUT))
    assert "objective" not in (overload_warning(for_rate, {"right": SPLIT}) or "objective")
    assert overload_warning(PROBLEM, {"left": SPLIT}) is None, "whose rate is not known"
    slower = replace(PROBLEM, streams=(replace(PROBLEM.streams[1], rate_hz=10.0),))
    assert overload_warning(slower, {"right": SPLIT}) is None, "just enough"
