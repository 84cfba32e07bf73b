"""Routes in arrays are the routes of `RouteForms`, one by one."""

import random

import numpy as np
import pytest

from planning.scheduling.route_arrays import MAX_STAGES, RouteArrays, drawn_routes, varied_routes
from planning.scheduling.route_forms import RouteForms
from planning.search.cost_tables import build_tables
from shared.policy import Objective
from tests.support.random_problems import random_problem


def _forms(seed: int, *, constrained: bool = False) -> RouteForms:
    problem = random_problem(
        random.Random(seed), Objective.LATENCY, constrained=constrained, codecs=True, most_blocks=8
    )
    return RouteForms(problem, build_tables(problem, problem.streams[0]))


def _steps(routes: RouteArrays, place: int) -> list[tuple[int, float]]:
    pairs = zip(routes.servers[place].tolist(), routes.work_ms[place].tolist(), strict=True)
    return [(server, work_ms) for server, work_ms in pairs if server != routes.no_server]


def test_steps_and_latencies_are_those_of_the_routes() -> None:
    compared = 0
    for seed in range(40):
        forms = _forms(seed)
        routes = drawn_routes(forms, 60, np.random.default_rng(seed))
        assert (np.diff(routes.latency_ms) >= 0).all()
        for place in range(len(routes.latency_ms)):
            form = routes.form(forms, place)
            assert form is not None
            assert [server for server, _ in _steps(routes, place)] == [server for server, _ in form.steps]
            times_ms = [time_ms for _, time_ms in form.steps]
            assert [time_ms for _, time_ms in _steps(routes, place)] == pytest.approx(times_ms)
            assert routes.latency_ms[place] == pytest.approx(form.latency_ms)
            assert len(form.segments) <= MAX_STAGES
            compared += 1
    assert compared > 500


def test_every_route_that_no_constraint_of_the_stream_forbids_may_be_drawn() -> None:
    """What cannot run or be sent is left out; a route that breaks a limit has no form."""
    refused = 0
    for seed in range(40):
        forms = _forms(seed, constrained=True)
        routes = drawn_routes(forms, 60, np.random.default_rng(seed))
        assert np.isfinite(routes.latency_ms).all()
        refused += sum(routes.form(forms, place) is None for place in range(len(routes.latency_ms)))
    assert refused > 0


def test_more_routes_join_in_order() -> None:
    forms = _forms(3)
    draws = np.random.default_rng(0)
    one, two = drawn_routes(forms, 50, draws), drawn_routes(forms, 80, draws)
    both = one.with_more(two, 1_000)
    assert sorted([*one.latency_ms.tolist(), *two.latency_ms.tolist()]) == both.latency_ms.tolist()
    for place, latency_ms in enumerate(both.latency_ms.tolist()):
        assert sum(work_ms for _, work_ms in _steps(both, place)) == pytest.approx(latency_ms)
    few = one.with_more(two, 10)
    assert len(few.latency_ms) == 10
    assert (few.latency_ms[0], few.latency_ms[-1]) == (both.latency_ms[0], both.latency_ms[-1])


def test_varied_routes_are_redrawn_in_one_run_of_blocks() -> None:
    """Every route that they name can be taken, and outside of one run with at most two nodes it is as given."""
    changed = 0
    for seed in range(40):
        forms = _forms(seed, constrained=True)
        drawn = drawn_routes(forms, 1, np.random.default_rng(seed))
        if not len(drawn.nodes):
            continue
        routes = varied_routes(forms, np.repeat(drawn.nodes, 60, axis=0), np.random.default_rng(seed))
        assert (np.diff(routes.latency_ms) >= 0).all()
        for place, nodes in enumerate(routes.nodes):
            form = routes.form(forms, place)
            if form is not None:
                assert form.latency_ms == pytest.approx(routes.latency_ms[place])
            other = np.flatnonzero(nodes != drawn.nodes[0])
            if len(other):
                run = nodes[other[0] : other[-1] + 1]
                # One cut within the run, beside blocks that were redrawn to where they were.
                assert (np.diff(run) != 0).sum() <= 1
                changed += 1
    assert changed > 200
