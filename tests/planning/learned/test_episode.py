"""Episodes of the learned partitioner, played with random devices."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.learned.arena import arena_of, soonest_encodings
from planning.learned.episode import FEATURES, Episodes, Views
from planning.problem.plan import Constraint, Route, StreamPlan
from planning.problem.problem import Problem
from planning.search.cost_tables import build_tables
from shared.policy import Objective


def _random_episode(problem: Problem, rng: random.Random) -> tuple[Route | None, float]:
    """Play any allowed devices; return the route, if all blocks found a device, and its bottleneck in ms."""
    stream = problem.streams[0]
    tables = build_tables(problem, stream)
    arena = arena_of(problem, stream, tables)
    episode = Episodes(arena, Views(arena), np.zeros(1, dtype=np.int64))
    devices = [tables.source]
    while episode.alive[0]:
        assert np.isfinite(episode.state()).all()
        devices.append(rng.choice(np.flatnonzero(episode.allowed[0]).tolist()))
        episode.step(np.array(devices[-1:]))
    if not episode.done[0]:
        return None, 0.0
    following = [*devices[1:], devices[-1] if tables.sink is None else tables.sink]
    codecs = soonest_encodings(tables)[np.arange(1, len(devices) + 1), devices, following]
    return tables.route(devices, codecs.tolist(), 1), float(episode.worst()[0] * arena.unit_ms[0])


def test_whatever_is_chosen_the_mask_keeps_every_constraint_but_the_deadline(
    make_problem: Callable[..., Problem],
) -> None:
    rng = random.Random("masks")
    ended = split = 0
    for _ in range(400):
        problem = make_problem(rng, Objective.THROUGHPUT, constrained=True, codecs=True, most_devices=5, most_blocks=7)
        route, bottleneck_ms = _random_episode(problem, rng)
        if route is None:
            continue
        ended += 1
        split += len(route.stages) > 1
        stream, costs = problem.streams[0], CostModel(problem)
        assert route.stages[0].device == stream.source
        assert len({stage.device for stage in route.stages}) == len(route.stages)
        broken = violations(costs, {"s": StreamPlan((route,), (0,))})
        assert {violation.constraint for violation in broken} <= {Constraint.DEADLINE}
        assert bottleneck_ms == pytest.approx(max(costs.busy_ms(stream, route).values()))
    assert ended > 150
    assert split > 60


def test_episodes_in_step_go_on_until_the_last_one_ends(make_problem: Callable[..., Problem]) -> None:
    """A dead or finished episode keeps its figures while others go on."""
    rng = random.Random("in step")
    for _ in range(20):
        problem = make_problem(rng, Objective.THROUGHPUT, most_devices=4, most_blocks=6)
        arena = arena_of(problem, problem.streams[0], build_tables(problem, problem.streams[0]))
        episodes = Episodes(arena, Views(arena), np.zeros(8, dtype=np.int64))
        while episodes.alive.any():
            assert episodes.state().shape == (8, episodes.allowed.shape[1], FEATURES)
            before, alive = episodes.worst(), episodes.alive.copy()
            chosen = [rng.choice(np.flatnonzero(row).tolist() or [0]) for row in episodes.allowed]
            episodes.step(np.array(chosen))
            assert (episodes.worst()[alive] >= before[alive]).all()
            assert (episodes.worst()[~alive] == before[~alive]).all()
        assert (episodes.placed[episodes.done] == arena.blocks[0]).all()
        assert (episodes.placed[~episodes.done] < arena.blocks[0]).all()
