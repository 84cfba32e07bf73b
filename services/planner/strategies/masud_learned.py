"""Masud's learned partitioner: a policy that places block after block, trained by REINFORCE."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from services.planner.strategies.candidates import keeps_constraints
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.strategy import conclude, uniform
from services.planner.strategies.tables import Array, Tables, build_tables, latency_measure
from shared.plan.cost import CostModel
from shared.plan.plan import Infeasible, Plan, Route, StreamPlan
from shared.plan.problem import Problem, Stream

EPISODES_PER_SECOND = 1500
"""How many episodes a second of time budget buys."""

FEATURES = 8
BATCH = 5
FIRST_ENTROPY, LAST_ENTROPY = 0.8, 0.05


@dataclass(frozen=True, slots=True)
class MasudLearned:
    """REINFORCE over a linear softmax policy, with a running baseline and an entropy bonus that fades.

    The action is the device of the next block, masked to devices that can run it, are linked, and were not left
    before; the reward is minus the slowest of all computing and sending. The published one (SplitRL) is a network
    over six models with 15 000 episodes; here the features are the block's time, the transfer, and what the device
    carries, so that one weight vector serves any number of devices. It starts from weights that were trained on
    random problems (``masud_policy.json``, written by ``benchmarks.train_masud``), plays once greedily, and goes on
    learning. The best episode that keeps the constraints is returned: a search with memory, as the exact search
    shows an unneeded one. O(episodes B D).
    """

    name: str = "masud_learned"
    description: str = "placement learned by REINFORCE, ahead and on the problem itself; best episode seen"
    citation: str = "Masud, proposal; SplitRL code (riwaj666/SplitRL_V1); Williams, Machine Learning 8, 1992"
    learning_rate: float = 0.05

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best episode for every stream on its own."""
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            rng, episodes = np.random.default_rng(seed), 100 + int(EPISODES_PER_SECOND * time_budget_s)
            route = self._train(problem, stream, rng, episodes)
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = uniform(route, stream.jobs)
        return conclude(problem, self.name, plans)

    def _train(self, problem: Problem, stream: Stream, rng: np.random.Generator, episodes: int) -> Route | None:
        tables = build_tables(problem, stream)
        place = _Placement(tables)
        weights, gradient = stored_weights().copy(), np.zeros(FEATURES)
        costs = CostModel(problem)
        baseline: float | None = None
        best: tuple[float, Route] | None = None
        known: dict[tuple[int, ...], bool] = {}
        for episode in range(episodes):
            entropy = FIRST_ENTROPY + (LAST_ENTROPY - FIRST_ENTROPY) * episode / episodes
            played = place.play(weights, entropy, rng if episode else None)
            if played is None:
                continue
            devices, direction, slowest_ms = played
            baseline = slowest_ms if baseline is None else 0.95 * baseline + 0.05 * slowest_ms
            gradient += direction * (baseline - slowest_ms) / max(baseline, 1e-9)
            if episode % BATCH == BATCH - 1:
                weights, gradient = weights + self.learning_rate * gradient, np.zeros(FEATURES)
            if tuple(devices) in known:
                continue
            route = tables.route(devices, place.encodings(devices), 1)
            known[tuple(devices)] = keeps_constraints(problem, stream, route)
            if known[tuple(devices)]:
                cost_ms = max(costs.busy_ms(stream, route).values(), default=0.0)
                if best is None or cost_ms < best[0]:
                    best = cost_ms, route
        return None if best is None else best[1]


@cache
def stored_weights() -> Array:
    """Return the weights that were trained ahead: [FEATURES]."""
    text = resources.files("services.planner.strategies").joinpath("masud_policy.json").read_text(encoding="utf-8")
    return np.array(json.loads(text)["weights"], dtype=np.float64)


def train_ahead(problems: Iterable[Problem], episodes: int, seed: int, learning_rate: float = 0.02) -> Array:
    """Return weights learned by REINFORCE over many problems, ``episodes`` of each one's first stream: [FEATURES].

    The baseline is the mean of a problem's episodes, so that problems of any size weigh the same.
    """
    rng, weights = np.random.default_rng(seed), np.zeros(FEATURES)
    for problem in problems:
        place = _Placement(build_tables(problem, problem.streams[0]))
        played = [found for _ in range(episodes) if (found := place.play(weights, LAST_ENTROPY, rng)) is not None]
        mean_ms = sum(slowest_ms for _, _, slowest_ms in played) / max(1, len(played))
        if mean_ms > 0:
            for _, direction, slowest_ms in played:
                weights = weights + learning_rate * direction * (mean_ms - slowest_ms) / mean_ms
    return weights


class _Placement:
    """The environment: places blocks in order; keeps busy times per device."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._nodes, self._blocks = tables.run_ms.shape
        finite = tables.run_ms[np.isfinite(tables.run_ms)]
        self._scale = float(finite.mean()) * self._blocks if finite.size and finite.mean() > 0 else 1.0
        self._soonest = latency_measure(tables).move.argmin(axis=1)
        self._transfer_ms: Array = np.take_along_axis(tables.transfer_ms, self._soonest[:, None], axis=1)[:, 0]

    def encodings(self, devices: list[int]) -> list[int]:
        """Return, for every cut behind a block, the encoding in which what is sent there arrives soonest: [B]."""
        sink = self._tables.sink
        following = [*devices[1:], devices[-1] if sink is None else sink]
        return [
            int(self._soonest[block + 1, here, there])
            for block, (here, there) in enumerate(zip(devices, following, strict=True))
        ]

    def play(
        self, weights: Array, entropy: float, rng: np.random.Generator | None
    ) -> tuple[list[int], Array, float] | None:
        """Place every block by the softmax policy, always the likeliest device if there is no ``rng``.

        Returns:
            The devices, the gradient of the log-probability plus ``entropy`` times that of the entropy, and the slowest
            resource in ms; None if the episode ran into a dead end.
        """
        tables = self._tables
        computing, sending = np.zeros(self._nodes), np.zeros(self._nodes)
        left = np.zeros(self._nodes, dtype=np.bool_)
        here, devices, direction = tables.source, list[int](), np.zeros(FEATURES)
        for block in range(self._blocks):
            transfer = self._transfer_ms[block, here].copy()
            transfer[here] = 0.0
            run = tables.run_ms[:, block] + np.where(np.arange(self._nodes) == here, 0.0, tables.start_ms)
            possible = np.isfinite(transfer) & np.isfinite(run) & ~left
            if block == 0:
                possible &= tables.allowed_first
            choices = np.flatnonzero(possible)
            if not choices.size:
                return None
            seen = self._features(choices, here, block, run, transfer, computing, sending)
            scores = seen @ weights
            chances = np.exp(scores - scores.max())
            chances /= chances.sum()
            pick = int(chances.argmax() if rng is None else rng.choice(choices.size, p=chances))
            mean = chances @ seen
            surprise = np.log(chances + 1e-12)
            direction += seen[pick] - mean - entropy * 0.01 * ((chances * (surprise - chances @ surprise)) @ seen)
            node = int(choices[pick])
            if node != here:
                sending[here] += transfer[node]
                left[here] = block > 0
            computing[node] += run[node]
            devices.append(node)
            here = node
        if tables.sink is not None and tables.sink != here:
            sending[here] += self._transfer_ms[-1, here, tables.sink]
        slowest_ms = float(max(computing.max(), sending.max()))
        return (devices, direction, slowest_ms) if np.isfinite(slowest_ms) else None

    def _features(
        self,
        choices: np.ndarray[tuple[int], np.dtype[np.int64]],
        here: int,
        block: int,
        run: Array,
        transfer: Array,
        computing: Array,
        sending: Array,
    ) -> Array:
        """Return [choices, FEATURES]: what each device would mean, times relative to the mean time of the model."""
        scale, count = self._scale, choices.size
        stays = (choices == here).astype(float)
        progress = block / self._blocks
        rest = self._tables.run_ms[choices, block:].sum(axis=1) / scale
        columns = (
            run[choices] / scale * self._blocks,
            transfer[choices] / scale * self._blocks,
            computing[choices] / scale,
            np.full(count, sending[here] / scale) * (1 - stays),
            stays,
            stays * progress,
            np.minimum(rest, 10.0),
            stays * (computing[here] / scale),
        )
        return np.asarray(np.clip(np.stack(columns, axis=1), -10.0, 10.0))
