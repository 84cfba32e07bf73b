"""Compact routes have the steps, constraints and costs of the cost model."""

import random

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.scheduling.route_forms import RouteForm, RouteForms
from planning.search.cost_tables import build_tables
from planning.search.simple_routes import keeps_constraints
from shared.policy import Objective
from tests.support.random_problems import random_problem


def _forms(seed: int, *, constrained: bool) -> tuple[Problem, RouteForms]:
    rng = random.Random(seed)
    problem = random_problem(rng, Objective.LATENCY, constrained=constrained, codecs=True, most_devices=4)
    return problem, RouteForms(problem, build_tables(problem, problem.streams[0]))


def _drawn(forms: RouteForms, rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    nodes = tuple(rng.randrange(len(forms.tables.nodes)) for _ in range(forms.blocks))
    codecs = [rng.randrange(len(forms.tables.offers[block + 1])) for block in range(forms.blocks)]
    for block in range(forms.blocks):
        if forms.receiver(nodes, block) == nodes[block]:
            codecs[block] = 0
    return nodes, tuple(codecs)


def _check_costs(problem: Problem, forms: RouteForms, form: RouteForm) -> None:
    costs, stream, route = CostModel(problem), problem.streams[0], forms.route(form)
    names = list(problem.devices)
    operations = costs.operations(stream, route)
    servers = [2 * names.index(each.device) + (each.work is Work.SEND) for each in operations]
    assert [server for server, _ in form.steps] == servers
    assert [time_ms for _, time_ms in form.steps] == pytest.approx([each.duration_ms for each in operations])
    assert form.latency_ms == pytest.approx(costs.latency_ms(stream, route))
    assert form.energy_j == pytest.approx(costs.energy_j(stream, route))
    assert form.off_source == costs.off_source_blocks(stream, route)
    assert form.is_timed == all(each.duration_ms > 0 for each in operations)
    assert forms.of_route(route) is form


@pytest.mark.parametrize("constrained", [False, True])
def test_forms_are_the_routes_that_keep_the_constraints(constrained: bool) -> None:
    checked = refused = 0
    for seed in range(150):
        problem, forms = _forms(seed, constrained=constrained)
        rng = random.Random(seed)
        for _ in range(5):
            nodes, codecs = _drawn(forms, rng)
            form = forms.form(nodes, codecs)
            if form is not None:
                _check_costs(problem, forms, form)
                checked += 1
            elif all(np.isfinite(forms.tables.run_ms[node, block]) for block, node in enumerate(nodes)):
                route = forms.tables.route(list(nodes), list(codecs), 1)
                assert not keeps_constraints(problem, problem.streams[0], route)
                refused += 1
    assert checked > 50
    assert refused > 20


def test_a_route_over_other_nodes_keeps_its_encodings_where_it_can() -> None:
    kept = 0
    for seed in range(80):
        _, forms = _forms(seed, constrained=False)
        rng = random.Random(seed)
        form = forms.form(*_drawn(forms, rng))
        if form is not None:
            assert forms.over(form.nodes, form) is form
            kept += 1
    assert kept > 20


def test_the_cheapest_route_has_the_least_weighted_busy_time() -> None:
    compared = 0
    for seed in range(60):
        problem, forms = _forms(seed, constrained=False)
        rng = random.Random(seed)
        per_ms = np.array([rng.uniform(0, 2) for _ in range(2 * len(problem.devices))])
        cheapest = forms.cheapest(per_ms)
        if cheapest is None:
            continue
        least = sum(per_ms[server] * time_ms for server, time_ms in cheapest.steps)
        for _ in range(20):
            other = forms.form(*_drawn(forms, rng))
            if other is not None:
                assert least <= sum(per_ms[server] * time_ms for server, time_ms in other.steps) * (1 + 1e-9)
                compared += 1
    assert compared > 100


def test_known_routes_are_found_by_their_latency() -> None:
    rng = random.Random(4)
    _, forms = _forms(3, constrained=False)
    known = {form for _ in range(200) if (form := forms.form(*_drawn(forms, rng))) is not None}
    latencies_ms = sorted(form.latency_ms for form in known)
    assert len(latencies_ms) > 10
    middle = len(latencies_ms) // 2
    for away, place in ((0, middle), (1, middle + 1), (-2, middle - 2), (999, -1), (-999, 0)):
        assert forms.nearest(latencies_ms[middle], away).latency_ms == pytest.approx(latencies_ms[place])
