"""REINFORCE for Masud's learned partitioner: a small network with its gradient written out, Adam and the updates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planning.learned.arena import Arena
from planning.learned.episode import FEATURES, Episodes, Views
from planning.search.arrays import Array, Flags, Index

Floats = NDArray[np.float32]

# Cost of an episode that ends in a dead end, as a multiple of the mean of the complete episodes of its instance.
DEAD_END = 3.0

# Least standard deviation of the costs of an instance, as a share of their mean, by which advantages are scaled.
LEAST_SPREAD = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class ScorerNetwork:
    """The scorer of one device: FEATURES -> hidden -> hidden -> 1, with tanh.

    Attributes:
        parameters: weights [in, out] and biases [out] of the three layers in turn.
    """

    parameters: tuple[Floats, ...]

    def scores(self, state: Floats) -> Floats:
        """Return the scores of ``state``, [R, FEATURES] -> [R]."""
        scores: Floats = self._layers(state)[2][:, 0]
        return scores

    def gradient(self, state: Floats, slopes: Floats) -> tuple[Floats, ...]:
        """Return the gradient of the sum of ``slopes`` [R] times the scores of ``state`` [R, FEATURES]."""
        _, _, w2, _, w3, _ = self.parameters
        first, second, _ = self._layers(state)
        top = slopes[:, None]
        inner = (top @ w3.T) * (1 - second * second)
        outer = (inner @ w2.T) * (1 - first * first)
        return (
            *(state.T @ outer, outer.sum(axis=0)),
            *(first.T @ inner, inner.sum(axis=0)),
            *(second.T @ top, top.sum(axis=0)),
        )

    def _layers(self, state: Floats) -> tuple[Floats, Floats, Floats]:
        w1, b1, w2, b2, w3, b3 = self.parameters
        first = np.tanh(state @ w1 + b1)
        second = np.tanh(first @ w2 + b2)
        return first, second, second @ w3 + b3


def fresh_network(hidden: int, rng: np.random.Generator) -> ScorerNetwork:
    """Return a network with random weights that scores all devices about the same."""
    parameters: list[Floats] = []
    for fan_in, fan_out, scale in ((FEATURES, hidden, 1.0), (hidden, hidden, 1.0), (hidden, 1, 0.1)):
        parameters.append((rng.normal(size=(fan_in, fan_out)) * scale / np.sqrt(fan_in)).astype(np.float32))
        parameters.append(np.zeros(fan_out, dtype=np.float32))
    return ScorerNetwork(tuple(parameters))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and rates of the training, with the values of section B.12 where it has them.

    Attributes:
        updates: number of updates.
        instances: instances per update; the published training has one model at a time.
        episodes: episodes of every instance per update; their mean is the baseline.
        learning_rate: learning rate of Adam; it falls linearly to a tenth.
        first_entropy: weight of the entropy at the beginning; it falls geometrically to ``last_entropy``.
        hidden: units per layer.
    """

    updates: int = 12000
    instances: int = 16
    episodes: int = 5
    learning_rate: float = 2e-3
    first_entropy: float = 0.8
    last_entropy: float = 0.05
    hidden: int = 64


class Adam:
    """The optimiser of Kingma & Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1.

    Its constants are those of the paper. Only `step` changes the moments and ``network``.
    """

    def __init__(self, network: ScorerNetwork) -> None:
        """Start at ``network`` with moments of zero."""
        self.network = network
        self._mean = [np.zeros_like(value) for value in network.parameters]
        self._square = [np.zeros_like(value) for value in network.parameters]
        self._step = 0

    def step(self, gradient: Sequence[Floats], learning_rate: float) -> None:
        """Go one step down the gradient."""
        self._step += 1
        rate = learning_rate * float(np.sqrt(1 - 0.999**self._step) / (1 - 0.9**self._step))
        moments = zip(self.network.parameters, gradient, self._mean, self._square, strict=True)
        updated: list[Floats] = []
        for value, slope, mean, square in moments:
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope * slope - square)
            updated.append((value - rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32))
        self.network = ScorerNetwork(tuple(updated))


@dataclass(frozen=True, slots=True, eq=False)
class TrainingStep:
    """The states and choices for one block in R episodes that are not over.

    Attributes:
        rows: [R] the episodes.
        mask: [R, N] the allowed devices.
        state: [A, FEATURES] the states of all allowed devices, row after row.
        chances: [R, N] the policy's probabilities.
        picks: [R] the devices chosen.
    """

    rows: Index
    mask: Flags
    state: Floats
    chances: Floats
    picks: Index


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """Episodes after their end.

    Attributes:
        cost: [E] the busiest computing or sending in units; nan after a dead end.
        steps: the choices, block after block.
    """

    cost: Array
    steps: tuple[TrainingStep, ...]


def play(
    network: ScorerNetwork, arena: Arena, views: Views, instances: Index, rng: np.random.Generator | None
) -> Played:
    """Play an episode of each of ``instances`` [E]; without ``rng`` always on the device of the highest score."""
    episodes = Episodes(arena, views, instances)
    steps: list[TrainingStep] = []
    while episodes.alive.any():
        rows = np.flatnonzero(episodes.alive)
        seen = episodes.allowed[rows]
        state = episodes.state()[rows][seen]
        scores = np.full(seen.shape, -np.inf, dtype=np.float32)
        scores[seen] = network.scores(state)
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        ranks = chances
        if rng is not None:
            # The largest of the scores plus Gumbel noise is a draw from the softmax.
            ranks = scores + rng.gumbel(size=scores.shape).astype(np.float32)
        picks = ranks.argmax(axis=1)
        steps.append(TrainingStep(rows, seen, state, chances, picks))
        chosen = episodes.here.copy()
        chosen[rows] = picks
        episodes.step(chosen)
    return Played(np.where(episodes.done, episodes.worst(), np.nan), tuple(steps))


def train(arena: Arena, schedule: Schedule, seed: int, progress: Callable[[int, ScorerNetwork], None]) -> ScorerNetwork:
    """Return the network after training by REINFORCE on the arena's instances; the same for the same seed.

    Args:
        arena: instances whose sources can run the first block.
        schedule: length and rates.
        seed: seed of weights, instances and actions.
        progress: called after every update with its number and the network.
    """
    rng = np.random.default_rng(seed)
    views, adam = Views(arena), Adam(fresh_network(schedule.hidden, rng))
    for update in range(schedule.updates):
        fraction = update / schedule.updates
        entropy = schedule.first_entropy * (schedule.last_entropy / schedule.first_entropy) ** fraction
        chosen = rng.choice(len(arena.blocks), size=schedule.instances, replace=False)
        played = play(adam.network, arena, views, np.repeat(chosen, schedule.episodes), rng)
        better = advantages(played.cost.reshape(schedule.instances, schedule.episodes))
        gradient = reinforce(adam.network, played, better.ravel(), entropy)
        adam.step(gradient, schedule.learning_rate * (1 - 0.9 * fraction))
        progress(update, adam.network)
    return adam.network


def advantages(cost: Array) -> Array:
    """Return by how many standard deviations each episode [I, E] is better than the mean of its instance."""
    ended = np.isfinite(cost)
    mean = np.where(ended, cost, 0.0).sum(axis=1, keepdims=True) / np.maximum(ended.sum(axis=1, keepdims=True), 1)
    filled = np.where(ended, cost, DEAD_END * mean)
    mean = filled.mean(axis=1, keepdims=True)
    spread = np.maximum(filled.std(axis=1, keepdims=True), LEAST_SPREAD * np.maximum(mean, 1e-9))
    return np.asarray((mean - filled) / spread)


def reinforce(network: ScorerNetwork, played: Played, advantage: Array, entropy: float) -> tuple[Floats, ...]:
    """Return the gradient of minus (advantage times log probability plus ``entropy`` times entropy), per episode.

    With p = softmax(s): d log p[a] / d s = 1[a] - p, and d H / d s = -p (log p + H). (Williams 1992, section 4.)
    """
    slopes = []
    for step in played.steps:
        taken = (np.arange(step.mask.shape[1]) == step.picks[:, None]).astype(np.float32)
        logs = np.log(np.maximum(step.chances, 1e-12))
        disorder = -(step.chances * logs).sum(axis=1, keepdims=True)
        down = entropy * step.chances * (logs + disorder) - advantage[step.rows, None] * (taken - step.chances)
        slopes.append(down[step.mask] / len(played.cost))
    if not slopes:
        return tuple(np.zeros_like(value) for value in network.parameters)
    states = np.concatenate([step.state for step in played.steps])
    return network.gradient(states, np.concatenate(slopes).astype(np.float32))
