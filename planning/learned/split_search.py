"""OSDS: the search for the best splits of volumes by DDPG, DistrEdge's second step.

Hou et al., DistrEdge, IPDPS 2022, section IV.C, algorithm 2. The listing leaves some points open or wrong. Its
exploration rate becomes negative after episode 1 / d and is 0 from there on. The target of the last step is the reward
alone. Rewards are 1 / T with T in units of `SplitEnvironment.unit_ms`. The best splits of all episodes are returned, so
that the search is one with a memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from planning.learned.ddpg_agent import DdpgAgent, DdpgSettings, Networks
from planning.learned.dense_network import Floats
from planning.learned.split_environment import HIGH, LOW, SplitEnvironment
from planning.search.volume_routes import Volume

# The published number of episodes, and of those in which actions may be random.
EPISODES: Final = 4000
EXPLORING: Final = 250

# From a state to an action.
Actor = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class SplitSchedule:
    """Length and randomness of the search.

    Attributes:
        episodes: Max_ep.
        exploring: 1 / d: episode e adds noise with the probability 1 - (e / exploring)^2.
        variance: of the normal noise; published as 0.1 for four providers and 1 for sixteen.
        settings: of the agent.
    """

    episodes: int = EPISODES
    exploring: int = EXPLORING
    variance: float = 0.1
    settings: DdpgSettings = field(default_factory=DdpgSettings)


@dataclass(frozen=True, slots=True, eq=False)
class SplitSearchResult:
    """The best splits of all episodes.

    Attributes:
        latency_ms: their latency by the cost model.
        volumes: the volumes with their rows.
        networks: of the agent after the best episode.
    """

    latency_ms: float
    volumes: tuple[Volume, ...]
    networks: Networks


def published_variance(providers: int) -> float:
    """Return the variance of the noise: 0.1 for up to four providers, 1 from sixteen on, in proportion between."""
    return min(1.0, max(0.1, 0.1 + 0.9 * (providers - 4) / 12))


def search_splits(
    environment: SplitEnvironment,
    schedule: SplitSchedule,
    seed: int,
    *,
    start: Networks | None = None,
    seeds: Iterable[Sequence[Floats]] = (),
    progress: Callable[[int, float], None] | None = None,
) -> SplitSearchResult:
    """Return the best splits that the search finds; the same for the same seed.

    Args:
        environment: the volumes.
        schedule: length and randomness.
        seed: seed of weights, batches and noise.
        start: networks to begin with, to tune them to a changed network.
        seeds: actions of every volume that are tried before the first episode. The search does not learn from them, so
            that it goes on as it would without.
        progress: called after every episode with its number, from 1, and the best latency so far in ms.
    """
    # The networks are so small that threads of the matrix library would cost more than they save.
    with threadpool_limits(1, "blas"):
        return _search(environment, schedule, seed, start, seeds, progress)


def _search(
    environment: SplitEnvironment,
    schedule: SplitSchedule,
    seed: int,
    start: Networks | None,
    seeds: Iterable[Sequence[Floats]],
    progress: Callable[[int, float], None] | None,
) -> SplitSearchResult:
    rng = np.random.default_rng(seed)
    agent = DdpgAgent(environment.states, environment.actions, schedule.settings, rng, start)
    best: SplitSearchResult | None = None
    for given in seeds:
        follow_actor(environment, _Given(given))
        best = _better(best, environment, agent)
    for episode in range(1, schedule.episodes + 1):
        chance = max(0.0, 1 - (episode / schedule.exploring) ** 2)

        def act(state: Floats, chance: float = chance) -> Floats:
            action = agent.act(state)
            if rng.random() >= chance:
                return action
            noise = rng.normal(0, np.sqrt(schedule.variance), action.shape)
            return np.clip(action + noise, LOW, HIGH).astype(np.float32)

        _episode(environment, agent, act)
        best = _better(best, environment, agent)
        if progress is not None:
            progress(episode, best.latency_ms)
    assert best is not None, "a schedule has an episode at least"
    return best


def follow_actor(environment: SplitEnvironment, actor: Actor) -> tuple[Volume, ...]:
    """Return the splits that an actor chooses online, one volume after the other, without any search."""
    state: Floats | None = environment.reset()
    while state is not None:
        state = environment.step(actor(state))
    return environment.volumes()


def action_of_rows(volume: Volume, height: int) -> Floats:
    """Return the action that `rows_of_action` maps to the rows of a volume."""
    borders = np.array([bottom for _, bottom in volume.rows[:-1]], dtype=np.float64)
    action: Floats = (LOW + (HIGH - LOW) * borders / height).astype(np.float32)
    return action


class _Given:
    """An actor that returns given actions one after the other."""

    def __init__(self, actions: Iterable[Floats]) -> None:
        self._actions = iter(actions)

    def __call__(self, state: Floats) -> Floats:
        return next(self._actions)


def _episode(environment: SplitEnvironment, agent: DdpgAgent, act: Actor) -> None:
    state: Floats | None = environment.reset()
    while state is not None:
        action = act(state)
        following = environment.step(action)
        reward = environment.unit_ms / max(environment.latency_ms(), 1e-9) if following is None else 0.0
        agent.store(state, action, reward, following)
        agent.learn()
        state = following


def _better(best: SplitSearchResult | None, environment: SplitEnvironment, agent: DdpgAgent) -> SplitSearchResult:
    latency_ms = environment.latency_ms()
    if best is not None and best.latency_ms <= latency_ms:
        return best
    return SplitSearchResult(latency_ms, environment.volumes(), agent.networks())
