import random
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.masud_training import (
    DEAD_END,
    Played,
    Schedule,
    ScorerNetwork,
    advantages,
    fresh_network,
    play,
    reinforce,
    train,
)
from planning.learned.arena import Arena, stacked
from planning.learned.episode import FEATURES, Views
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from shared.policy import Objective, Policy


def _pipelines(count: int, seed: int) -> Arena:
    rng, found = random.Random(seed), []
    for _ in range(count):
        names = "abcd"[: rng.randint(2, 4)]
        blocks = tuple(Block(f"b{index}", rng.randint(1000, 200_000)) for index in range(rng.randint(4, 9)))
        devices = {name: Device({"m": tuple(rng.uniform(1, 20) for _ in blocks)}) for name in names}
        links = tuple(Link(a, b, 50.0, 1.0) for a in names for b in names if a < b)
        policy = Policy(objective=Objective.THROUGHPUT)
        found.append(Problem({"m": Model(1000, blocks)}, devices, links, (Stream("s", "m", "a"),), policy))
    return stacked(found)


def _mean_cost(network: ScorerNetwork, arena: Arena) -> float:
    return float(np.log(play(network, arena, Views(arena), np.arange(len(arena.blocks)), None).cost).mean())


def test_training_learns_what_holds_for_other_problems_and_repeats_itself() -> None:
    schedule = Schedule(updates=50, instances=6, learning_rate=5e-3, hidden=16)
    told: list[int] = []

    def learn() -> ScorerNetwork:
        return train(_pipelines(60, seed=1), schedule, 3, lambda update, network: told.append(update))

    trained = learn()
    others = _pipelines(60, seed=2)
    fresh = fresh_network(schedule.hidden, np.random.default_rng(3))
    assert _mean_cost(trained, others) < _mean_cost(fresh, others) - 0.2
    assert told == list(range(50))
    assert all(np.array_equal(a, b) for a, b in zip(trained.parameters, learn().parameters, strict=True))


def _objective(network: ScorerNetwork, played: Played, advantage: np.ndarray, entropy: float) -> float:
    """Return minus (advantage x log probability + entropy x entropy) of the episodes, from its definition."""
    total = 0.0
    for step in played.steps:
        scores = np.full(step.mask.shape, -np.inf)
        scores[step.mask] = network.scores(step.state)
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        for row, pick, seen, share in zip(step.rows, step.picks, step.mask, chances, strict=True):
            total -= advantage[row] * np.log(share[pick]) - entropy * (share[seen] * np.log(share[seen])).sum()
    return total / len(played.cost)


def test_the_gradient_is_that_of_the_objective() -> None:
    rng = np.random.default_rng(0)
    arena, small = _pipelines(4, seed=5), fresh_network(6, rng)
    network = ScorerNetwork(tuple(value.astype(np.float64) for value in small.parameters))
    played = play(network, arena, Views(arena), np.repeat(np.arange(4), 3), rng)
    advantage = rng.normal(size=12)
    gradient = reinforce(network, played, advantage, 0.3)
    for index, value in enumerate(network.parameters):
        for place in list(np.ndindex(value.shape))[:: max(1, value.size // 7)]:
            costs = []
            for shift in (1e-4, -1e-4):
                moved = [each.copy() for each in network.parameters]
                moved[index][place] += shift
                costs.append(_objective(ScorerNetwork(tuple(moved)), played, advantage, 0.3))
            assert gradient[index][place] == pytest.approx((costs[0] - costs[1]) / 2e-4, rel=2e-3, abs=2e-5)


def test_episodes_are_compared_with_those_of_their_instance() -> None:
    better = advantages(np.array([[1.0, 2.0, 3.0], [100.0, 100.0, 100.0], [10.0, np.nan, 10.0], [np.nan] * 3]))
    assert better[0] == pytest.approx([1.5**0.5, 0, -(1.5**0.5)])
    assert better[1] == pytest.approx([0, 0, 0])
    assert better[3] == pytest.approx([0, 0, 0])
    assert better[2, 1] < 0 < better[2, 0]
    assert better[2] == pytest.approx(advantages(np.array([[10.0, DEAD_END * 10, 10.0]]))[0])


def test_greedy_play_takes_the_best_score_and_drawing_follows_the_chances() -> None:
    arena, network = _pipelines(1, seed=8), fresh_network(16, np.random.default_rng(1))
    views = Views(arena)
    greedy = play(network, arena, views, np.zeros(1, dtype=np.int64), None)
    assert all(step.picks[0] == step.chances[0].argmax() for step in greedy.steps)
    drawn = play(network, arena, views, np.zeros(4000, dtype=np.int64), np.random.default_rng(2)).steps[0]
    shares = np.bincount(drawn.picks, minlength=drawn.mask.shape[1]) / 4000
    assert shares == pytest.approx(drawn.chances[0], abs=0.03)
    assert drawn.state.shape[1] == FEATURES


def test_an_arena_pads_problems_with_devices_and_blocks_that_are_never_used(
    make_problem: Callable[..., Problem],
) -> None:
    rng = random.Random("padding")
    problems = [make_problem(rng, Objective.THROUGHPUT, most_devices=4, most_blocks=7) for _ in range(40)]
    network, together = fresh_network(16, np.random.default_rng(0)), stacked(problems)
    joint = play(network, together, Views(together), np.arange(40), None).cost
    for index, problem in enumerate(problems):
        one = stacked([problem])
        alone = play(network, one, Views(one), np.zeros(1, dtype=np.int64), None).cost
        assert joint[index : index + 1] == pytest.approx(alone, nan_ok=True)
    assert np.isfinite(joint).sum() > 10
