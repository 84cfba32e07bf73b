"""The arrays of one-cut routes against the common cost prediction, route by route."""

import random
from collections.abc import Callable

import pytest

from services.planner.search.answers import uniform
from services.planner.search.one_cut import one_cuts
from shared.plan.constraints import violations
from shared.plan.cost import CostModel
from shared.plan.cuts import allowed_encodings
from shared.plan.pipeline import Work
from shared.plan.plan import Constraint
from shared.plan.policy import Objective
from shared.plan.problem import Problem


def test_every_number_is_that_of_the_cost_model(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("one cut")
    seen = kept = 0
    for index in range(150):
        problem = make_problem(rng, Objective.ENERGY, constrained=index % 2 == 0, codecs=index % 3 != 0, most_devices=4)
        stream, costs = problem.streams[0], CostModel(problem)
        cuts = one_cuts(problem, stream)
        for place in range(len(cuts.cut)):
            route = cuts.route(place)
            assert cuts.latency_ms[place] == pytest.approx(costs.latency_ms(stream, route))
            assert cuts.energy_j[place] == pytest.approx(costs.energy_j(stream, route))
            busy = costs.busy_ms(stream, route)
            assert cuts.source_ms[place] == pytest.approx(busy.get((stream.source, Work.COMPUTE), 0.0))
            assert cuts.send_ms[place] == pytest.approx(busy.get((stream.source, Work.SEND), 0.0))
            broken = {reason.constraint for reason in violations(costs, {stream.name: uniform(route, 1)})}
            assert cuts.allowed[place] == (broken <= {Constraint.DEADLINE})
            if cuts.allowed[place]:
                assert cuts.in_time[place] == (not broken)
            seen, kept = seen + 1, kept + int(cuts.kept[place])
    assert seen > 800 and kept > 300


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
        assert len(one_cuts(problem, stream).cut) == len(helpers) * per_helper + (stream.source in returns)
