"""Problems as arrays: units, occupancy, and instances of several sizes side by side."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from planning.learned.arena import Occupancy, arena_of, soonest_encodings, stacked
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.cost_tables import build_tables
from shared.policy import Objective, Policy


def _two_devices(slowness: float) -> Problem:
    """Two blocks on two equally fast devices; times and transfers grow with ``slowness``."""
    devices = {name: Device({"m": (4.0 * slowness, 2.0 * slowness)}) for name in "ab"}
    model = Model(1000, (Block("x", 1000, parameter_bytes=10), Block("y", 0, parameter_bytes=20)))
    links = (Link("a", "b", 8.0 / slowness, 1.0 * slowness),)
    return Problem({"m": model}, devices, links, (Stream("s", "m", "a"),), Policy(Objective.THROUGHPUT))


def test_times_are_in_units_of_the_shared_model_so_that_speed_does_not_show() -> None:
    slow, fast = (stacked([_two_devices(slowness)]) for slowness in (10.0, 1.0))
    assert fast.unit_ms[0] == pytest.approx(3.0)
    assert slow.unit_ms[0] == pytest.approx(30.0)
    assert slow.run == pytest.approx(fast.run)
    assert slow.move == pytest.approx(fast.move)
    assert fast.run[0, :, 0] == pytest.approx([4 / 3, 2 / 3])
    assert fast.move[0, 1, 0, 1] == pytest.approx(2.0 / 3)
    assert (fast.move[0, :, [0, 1], [0, 1]] == 0).all()


def test_occupancy_is_in_the_same_units() -> None:
    problem = _two_devices(1.0)
    tables = build_tables(problem, problem.streams[0])
    arena = arena_of(problem, problem.streams[0], tables, Occupancy({"b": 6.0}, {"a": 3.0}, {"b": 7.0}, {"b": 5.0}))
    place = {name: index for index, name in enumerate(tables.nodes)}
    assert arena.computing[0, place["b"]] == pytest.approx(2.0)
    assert arena.sending[0, place["a"]] == pytest.approx(1.0)
    assert (arena.held_parameters[0, place["b"]], arena.held_working[0, place["b"]]) == (7.0, 5.0)
    assert arena.computing[0, place["a"]] == 0


def test_smaller_instances_are_filled_up_with_what_cannot_run(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("padding")
    problems = [make_problem(rng, Objective.THROUGHPUT, most_devices=4, most_blocks=7) for _ in range(20)]
    together = stacked(problems)
    for index, problem in enumerate(problems):
        alone = stacked([problem])
        blocks, nodes = alone.run.shape[1:]
        assert (together.run[index, :blocks, :nodes] == alone.run[0]).all()
        assert np.isinf(together.run[index, blocks:]).all()
        assert np.isinf(together.run[index, :, nodes:]).all()
        assert not together.ahead[index, blocks:].any()


def test_a_transfer_has_the_encoding_that_arrives_soonest(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("soonest")
    chosen = set()
    for _ in range(20):
        problem = make_problem(rng, Objective.LATENCY, codecs=True, most_blocks=4)
        tables = build_tables(problem, problem.streams[0])
        soonest = soonest_encodings(tables)
        assert soonest.shape == (tables.blocks + 1, len(tables.nodes), len(tables.nodes))
        chosen |= set(np.unique(soonest).tolist())
    assert len(chosen) > 1
