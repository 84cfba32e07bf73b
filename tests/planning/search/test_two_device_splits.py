"""The arrays of routes with one cut equal the common cost prediction, route by route."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.crossings import allowed_encodings
from planning.problem.plan import Constraint
from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.search.result import same_route_for_all
from planning.search.two_device_splits import leading_memory_bytes, split_table
from shared.policy import Objective
from shared.segment_memory import segment_memory_bytes


def test_every_number_is_that_of_the_cost_model(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("one cut")
    seen = kept = 0
    for index in range(150):
        problem = make_problem(rng, Objective.ENERGY, constrained=index % 2 == 0, codecs=index % 3 != 0, most_devices=4)
        stream, costs = problem.streams[0], CostModel(problem)
        cuts = split_table(problem, stream)
        for place in range(len(cuts.cut)):
            route = cuts.route(place)
            assert cuts.latency_ms[place] == pytest.approx(costs.latency_ms(stream, route))
            assert cuts.energy_j[place] == pytest.approx(costs.energy_j(stream, route))
            busy = costs.busy_ms(stream, route)
            assert cuts.source_ms[place] == pytest.approx(busy.get((stream.source, Work.COMPUTE), 0.0))
            assert cuts.send_ms[place] == pytest.approx(busy.get((stream.source, Work.SEND), 0.0))
            broken = {reason.constraint for reason in violations(costs, {stream.name: same_route_for_all(route, 1)})}
            assert cuts.allowed[place] == (broken <= {Constraint.DEADLINE})
            if cuts.allowed[place]:
                assert cuts.in_time[place] == (not broken)
            seen, kept = seen + 1, kept + int(cuts.feasible[place])
    assert seen > 800
    assert kept > 300


def test_all_cuts_and_encodings_are_there(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("all cuts")
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY, codecs=True)
        stream, costs = problem.streams[0], CostModel(problem)
        model = problem.models["m"]
        able = [name for name, device in problem.devices.items() if "m" in device.block_ms]
        returns = {name for name in able if stream.sink is None or costs.linked(name, stream.sink)}
        helpers = [name for name in able if name in returns - {stream.source} and costs.linked(stream.source, name)]
        inner = range(1, len(model.blocks)) if stream.source in able else ()
        per_helper = 1 + sum(len(allowed_encodings(model, cut, problem.policy)) for cut in inner)
        assert len(split_table(problem, stream).cut) == len(helpers) * per_helper + (stream.source in returns)


@given(st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)), min_size=1, max_size=20))
def test_the_memory_of_leading_segments_is_the_one_formula(blocks: list[tuple[float, float]]) -> None:
    parameters, working = (np.array(column) for column in zip(*blocks, strict=True))
    expected = [segment_memory_bytes(parameters[:stop], working[:stop]) for stop in range(len(blocks) + 1)]
    assert leading_memory_bytes(parameters, working).tolist() == pytest.approx(expected)
