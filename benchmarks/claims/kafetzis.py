"""Kafetzis & Koutsopoulos: greedy cuts of tasks that share a server, in the paper's snapshot."""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random
from statistics import mean

import numpy as np

from benchmarks.claims.chains import by_flops, chain, layers
from benchmarks.claims.claim import Claim
from services.planner.strategies.kafetzis_koutsopoulos import Score, Start, greedy, starts
from services.planner.strategies.rank_assignment import assign
from services.planner.strategies.shared_server import Offload, offloads, snapshot_delays_ms
from shared.plan.policy import QueueDiscipline
from shared.plan.problem import Device, Link, Problem, Stream

SOURCE = "paper: Kafetzis & Koutsopoulos"
PI3_ALEXNET_MS = 157.8
SEEDS = 5
EVALUATIONS = 100_000
SHORTEST, ROBIN = QueueDiscipline.SHORTEST_JOB_FIRST, QueueDiscipline.ROUND_ROBIN


def claims() -> Iterator[Claim]:
    """Yield the claims of the paper that can be computed."""
    yield variance_against_devices()
    yield variance_against_speed()
    yield greedy_variance()
    yield greedy_delay()
    yield assignment_is_exact()
    yield disciplines()


def variance_against_devices() -> Claim:
    """Figure 3A: with equally fast server and devices the gain shrinks as more share the server."""
    found = {count: [_variance_gain(_tasks(seed, count, 1.0)) for seed in range(SEEDS)] for count in (10, 30, 50)}
    gains = [mean(gain for gain, _ in each) for each in found.values()]
    shares = [mean(share for _, share in each) for each in found.values()]
    return Claim(
        f"{SOURCE}, figure 3A",
        "variance falls less with more devices, and more is computed locally",
        "21 % to 2 % less variance from 10 to 50 devices",
        f"{gains[0]:.0%}, {gains[1]:.0%}, {gains[2]:.0%} less; local share {shares[0]:.2f}, {shares[1]:.2f}, {shares[2]:.2f}",
        gains[0] >= gains[1] >= gains[2] and shares[0] <= shares[1] <= shares[2],
    )


def variance_against_speed() -> Claim:
    """Figure 3C: the gain grows with the server's speed."""
    gains = [mean(_variance_gain(_tasks(seed, 10, ratio))[0] for seed in range(SEEDS)) for ratio in (1, 5, 50, 1000)]
    return Claim(
        f"{SOURCE}, figure 3C",
        "variance falls more with a faster server, and saturates",
        "21 % (R = 1) to 67.2 % (R = 1000)",
        ", ".join(f"{gain:.0%}" for gain in gains) + " for R = 1, 5, 50, 1000",
        all(later >= earlier - 0.02 for earlier, later in zip(gains, gains[1:], strict=False)),
    )


def greedy_variance() -> Claim:
    """Figure 5: the greedy's variance against exhaustive search."""
    gaps = []
    for seed in range(SEEDS):
        tasks = _tasks(seed, 3, 1.0)
        score = _variance(tasks)
        best = min(score(choice) for choice in product(*(range(len(task.routes)) for task in tasks)))
        ends = [score(greedy(tasks, start, score, EVALUATIONS)) for start in starts(tasks, Start.ONES)]
        gaps.append(min(ends) / best - 1 if best else 0.0)
    return Claim(
        f"{SOURCE}, figure 5",
        "greedy within 2.4 % of exhaustive search (3 devices, 11 stages, from ones)",
        "2.4 %",
        f"median {np.median(gaps):.0%}, worst {max(gaps):.0%} over {SEEDS} draws",
        max(gaps) <= 0.024,
    )


def greedy_delay() -> Claim:
    """Total delay of the greedy from ones against the exact assignment."""
    gaps = []
    for seed, count in product(range(SEEDS), (10, 30, 50)):
        tasks = _tasks(seed, count, 5.0)
        exact = assign(tasks, SHORTEST)[1]
        score = _total(tasks, SHORTEST)
        (start,) = starts(tasks, Start.ONES)
        gaps.append(score(greedy(tasks, start, score, EVALUATIONS)) / exact - 1)
    return Claim(
        f"{SOURCE}, section V",
        "the greedy is nearly optimal for total delay (from ones, up to 50 devices)",
        "almost always optimal (up to 10)",
        f"mean {mean(gaps):.1%}, worst {max(gaps):.1%} above the exact assignment",
        max(gaps) <= 0.12,
    )


def assignment_is_exact() -> Claim:
    """What the paper calls hard is an assignment."""
    worst, cases = 0.0, 0
    for seed, discipline in product(range(10), (SHORTEST, ROBIN)):
        tasks = _tasks(seed, 3, 3.0)
        score = _total(tasks, discipline)
        best = min(score(choice) for choice in product(*(range(len(task.routes)) for task in tasks)))
        worst = max(worst, abs(assign(tasks, discipline)[1] / best - 1))
        cases += 1
    return Claim(
        f"{SOURCE}, section III",
        "total delay is 'computationally hard'",
        "exhaustive up to 10 devices",
        f"linear assignment is exact: {cases} cases, largest difference {worst:.0e}",
        worst < 1e-9,
    )


def disciplines() -> Claim:
    """Shortest job first never delays more in total than round robin."""
    rng = Random(0)
    worse = 0
    for seed in range(200):
        tasks = _tasks(seed % 20, 8, 3.0)
        choice = [rng.randrange(len(task.routes)) for task in tasks]
        worse += _total(tasks, SHORTEST)(choice) > _total(tasks, ROBIN)(choice) * (1 + 1e-12)
    text = f"{worse} of 200 draws in which it was not"
    return Claim(f"{SOURCE}, section III", "shortest job first is best for total delay", "(proved)", text, worse == 0)


def _tasks(seed: int, count: int, ratio: float) -> list[Offload]:
    """Return one AlexNet task per device; the server is so many times as fast as a device."""
    rng = Random(seed)
    blocks = layers("alexnet")
    times = by_flops(blocks, PI3_ALEXNET_MS)
    devices = {f"pi{index}": Device({"m": tuple(_noisy(times, rng))}) for index in range(count)}
    links = tuple(Link(name, "server", rng.uniform(1, 40), 2.0) for name in devices)
    devices["server"] = Device({"m": tuple(each / ratio for each in times)})
    streams = tuple(Stream(f"s{index}", "m", f"pi{index}") for index in range(count))
    found = offloads(Problem({"m": chain(blocks)}, devices, links, streams), "server")
    assert found is not None
    return found


def _noisy(times: Sequence[float], rng: Random) -> list[float]:
    factor = rng.uniform(0.7, 1.3)
    return [factor * each for each in times]


def _variance(tasks: Sequence[Offload]) -> Score:
    return lambda choice: float(snapshot_delays_ms(tasks, choice, SHORTEST).var())


def _total(tasks: Sequence[Offload], discipline: QueueDiscipline) -> Score:
    return lambda choice: float(snapshot_delays_ms(tasks, choice, discipline).sum())


def _variance_gain(tasks: Sequence[Offload]) -> tuple[float, float]:
    """Return how much the variance falls below all local, and the share of stages computed locally."""
    score = _variance(tasks)
    local = [len(task.routes) - 1 for task in tasks]
    ends = [greedy(tasks, start, score, EVALUATIONS) for start in starts(tasks)]
    best = min(ends, key=score)
    share = mean(cut / last for cut, last in zip(best, local, strict=True))
    return 1 - score(best) / score(local), share
