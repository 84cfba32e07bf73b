from dataclasses import replace

import numpy as np
import pytest

from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.cost_tables import build_tables
from planning.search.limits import MAX_BEAM_WIDTH, MIN_BEAM_BLOCKS, limits_of
from shared.policy import Policy


def _problem(policy: Policy, memory_bytes: int | None = None) -> Problem:
    blocks = tuple(Block(f"b{index}", 100, parameter_bytes=10, activation_bytes=5 * index) for index in range(4))
    devices = {name: Device({"m": (1.0,) * 4}, memory_bytes=memory_bytes) for name in ("a", "b", "c")}
    links = (Link("a", "b", 10.0), Link("a", "c", 10.0))
    return Problem({"m": Model(100, blocks)}, devices, links, (Stream("s", "m", "a"),), policy)


@pytest.mark.parametrize(("most", "expected"), [(None, None), (3, None), (2, 2)])
def test_a_number_of_devices_that_no_route_exceeds_is_no_constraint(most: int | None, expected: int | None) -> None:
    problem = _problem(Policy(max_devices=most))
    assert limits_of(problem, build_tables(problem, problem.streams[0]), 1.0).max_devices == expected


def test_memory_is_a_constraint_unless_the_whole_model_fits_everywhere() -> None:
    problem = _problem(Policy(), memory_bytes=100)
    tables = build_tables(problem, problem.streams[0])
    assert limits_of(problem, tables, 1.0).memory_bytes is None
    within = limits_of(problem, tables, 1.0, {"b": 60.0}).memory_bytes
    assert within is not None
    assert within == pytest.approx([{"b": 40.0}.get(name, 100.0) for name in tables.nodes])


def test_work_grows_with_the_time_budget_and_has_a_least_and_a_most() -> None:
    problem = _problem(Policy())
    tables = build_tables(problem, problem.streams[0])
    none, some, plenty = (limits_of(problem, tables, budget_s) for budget_s in (0.0, 1.0, 100.0))
    assert 0 < none.label_limit < some.label_limit < plenty.label_limit
    assert 0 < none.beam_width <= some.beam_width <= plenty.beam_width == MAX_BEAM_WIDTH
    assert MIN_BEAM_BLOCKS == none.beam_blocks < some.beam_blocks
    assert none.local_search_limit == 0 < some.local_search_limit


def test_a_latency_is_in_time_up_to_the_deadline_and_an_infinite_one_never() -> None:
    problem = _problem(Policy(deadline_ms=10.0))
    limits = limits_of(problem, build_tables(problem, problem.streams[0]), 1.0)
    latencies_ms = np.array([9.0, 10.0, 10.1, np.inf])
    assert limits.in_time(latencies_ms).tolist() == [True, True, False, False]
    assert replace(limits, deadline_ms=None).in_time(latencies_ms).tolist() == [True, True, True, False]
