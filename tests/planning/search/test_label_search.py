import random
from dataclasses import replace

import pytest

from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.chain_path import cheapest_path
from planning.search.cost_tables import build_tables, latency_measure
from planning.search.label_search import search_labels
from planning.search.limits import limits_of
from shared.policy import Policy


def _problem(max_devices: int | None) -> Problem:
    rng = random.Random(3)
    names = [f"d{index}" for index in range(6)]
    blocks = tuple(Block(f"b{index}", 100) for index in range(10))
    devices = {name: Device({"m": tuple(rng.uniform(1, 20) for _ in blocks)}) for name in names}
    links = tuple(Link(a, b, 1000.0) for index, a in enumerate(names) for b in names[index + 1 :])
    policy = Policy(max_devices=max_devices)
    return Problem({"m": Model(100, blocks)}, devices, links, (Stream("s", "m", "d0"),), policy)


def test_without_limits_it_is_the_shortest_path() -> None:
    problem = _problem(None)
    tables = build_tables(problem, problem.streams[0])
    measure = latency_measure(tables)
    found, plain = search_labels(tables, measure, None, limits_of(problem, tables, 1.0)), cheapest_path(measure)
    assert found.path is not None
    assert plain is not None
    assert found.proved
    assert found.path.cost == pytest.approx(plain.cost) == found.bound


def test_when_labels_run_out_a_beam_still_finds_a_path_and_the_bound_holds() -> None:
    problem = _problem(2)
    tables = build_tables(problem, problem.streams[0])
    measure, limits = latency_measure(tables), limits_of(problem, tables, 1.0)
    exact, cut = (
        search_labels(tables, measure, None, limits),
        search_labels(tables, measure, None, replace(limits, label_limit=3)),
    )
    assert exact.proved
    assert not cut.proved
    assert exact.path is not None
    assert cut.path is not None
    assert cut.bound <= exact.path.cost <= cut.path.cost * (1 + 1e-12)
    assert len(set(cut.path.devices)) <= 2
