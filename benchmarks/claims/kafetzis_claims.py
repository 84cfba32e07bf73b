"""Kafetzis & Koutsopoulos: greedy cuts of tasks that share a server, in the paper's snapshot."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from random import Random
from statistics import mean

import numpy as np

from benchmarks.claims.chains import by_flops, chain, layers
from benchmarks.claims.claim import Claim
from planning.problem.problem import Device, Link, Problem, Stream
from planning.scheduling.shared_server import Offload, QueueSnapshot, Score, offloads
from planning.search.arrays import Index
from planning.strategies.kafetzis_koutsopoulos import Start, greedy, starts
from planning.strategies.rank_assignment import assign
from shared.model.analysis import BlockAnalysis
from shared.policy import QueueDiscipline

SOURCE = "paper: Kafetzis & Koutsopoulos"
PI3_ALEXNET_MS = 157.8
SEEDS = 5
EVALUATIONS = 100_000
# Draws of the background processes and of the caps of 8 stages. The paper gives no figures.
MOST_BACKGROUND, CAPS = 2, (5, 8)
DRAWN = "other: rates, 0 to 2 background processes and caps of 5 to 8 of 8 stages are drawn; the paper prints none"
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
    """Compare the gain by the number of devices that are as fast as the server (figure 3A)."""
    draws = {count: [_variance_gain(seed, count, 1.0) for seed in range(SEEDS)] for count in (10, 30, 50)}
    gains = [mean(gain for gain, _ in each) for each in draws.values()]
    shares = [mean(share for _, share in each) for each in draws.values()]
    return Claim(
        f"{SOURCE}, figure 3A",
        "variance falls less with more devices, and more is computed locally",
        "21 % to 2 % less variance from 10 to 50 devices",
        "{:.0%}, {:.0%}, {:.0%} less; local share {:.2f}, {:.2f}, {:.2f}".format(*gains, *shares),
        gains[0] >= gains[1] >= gains[2] and shares[0] <= shares[1] <= shares[2],
        DRAWN,
    )


def variance_against_speed() -> Claim:
    """Compare the gain by the server's speed (figure 3C)."""
    gains = [mean(_variance_gain(seed, 10, ratio)[0] for seed in range(SEEDS)) for ratio in (1, 5, 50, 1000)]
    return Claim(
        f"{SOURCE}, figure 3C",
        "variance falls more with a faster server, and saturates",
        "21 % (R = 1) to 67.2 % (R = 1000)",
        ", ".join(f"{gain:.0%}" for gain in gains) + " for R = 1, 5, 50, 1000",
        all(later >= earlier - 0.02 for earlier, later in pairwise(gains)),
        DRAWN,
    )


def greedy_variance() -> Claim:
    """Compare the greedy's variance with exhaustive search (figure 5)."""
    gaps = []
    for seed in range(SEEDS):
        tasks = alexnet_tasks(seed, 3, 1.0, is_merged=True)
        score = _variance(tasks)
        best = float(score(every_choice(tasks)).min())
        ends = [value_of(score, greedy(tasks, start, score, EVALUATIONS)) for start in starts(tasks, Start.ONES)]
        gaps.append(min(ends) / best - 1 if best else 0.0)
    return Claim(
        f"{SOURCE}, figure 5",
        "greedy within 2.4 % of exhaustive search (3 devices, 8 stages, from ones)",
        "2.4 %",
        f"median {np.median(gaps):.0%}, worst {max(gaps):.0%} over {SEEDS} draws",
        max(gaps) <= 0.024,
        "easier: 3 devices of up to 10, 8 stages of 11; without caps and background processes",
    )


def greedy_delay() -> Claim:
    """Compare the greedy's total delay from ones with the exact assignment."""
    gaps: dict[float, list[float]] = {1.0: [], 10.0: [], 100.0: []}
    for ratio, seed, count in product(gaps, range(SEEDS), (10, 30, 50)):
        tasks = alexnet_tasks(seed, count, ratio, is_merged=True)
        exact = assign(tasks, SHORTEST)[1]
        score = _total(tasks, SHORTEST)
        (start,) = starts(tasks, Start.ONES)
        gaps[ratio].append(value_of(score, greedy(tasks, start, score, EVALUATIONS)) / exact - 1)
    text = ", ".join(f"{mean(each):.0%} (worst {max(each):.0%}) at R = {ratio:.0f}" for ratio, each in gaps.items())
    return Claim(
        f"{SOURCE}, section V",
        "the greedy is nearly optimal for total delay (8 stages, from ones, up to 50 devices)",
        "almost always optimal (up to 10)",
        f"{text} above the exact assignment; single steps stall where a layer enlarges its data",
        all(max(each) <= 0.12 for each in gaps.values()),
        "harder: up to 50 devices, against the exact optimum; 8 stages, without caps and background processes",
    )


def assignment_is_exact() -> Claim:
    """Compare linear assignment with exhaustive search on the problem that the paper calls hard."""
    worst, cases = 0.0, 0
    for seed, discipline in product(range(10), (SHORTEST, ROBIN)):
        tasks = alexnet_tasks(seed, 3, 3.0)
        score = _total(tasks, discipline)
        best = float(score(every_choice(tasks)).min())
        worst = max(worst, abs(assign(tasks, discipline)[1] / best - 1))
        cases += 1
    return Claim(
        f"{SOURCE}, section III",
        "total delay is 'computationally hard'",
        "exhaustive up to 10 devices",
        f"linear assignment is exact: {cases} cases, largest difference {worst:.0e}",
        worst < 1e-9,
        "other: the paper states it, and compares nothing",
    )


def disciplines() -> Claim:
    """Compare the total delay of shortest job first with that of round robin."""
    rng = Random(0)
    worse = 0
    for seed in range(200):
        tasks = alexnet_tasks(seed % 20, 8, 3.0)
        choice = [rng.randrange(len(task.routes)) for task in tasks]
        worse += value_of(_total(tasks, SHORTEST), choice) > value_of(_total(tasks, ROBIN), choice) * (1 + 1e-12)
    text = f"{worse} of 200 draws in which it was not"
    return Claim(f"{SOURCE}, section III", "shortest job first is best for total delay", "(proved)", text, worse == 0)


def alexnet_tasks(
    seed: int, count: int, ratio: float, *, is_merged: bool = False, is_busy: bool = False, is_capped: bool = False
) -> list[Offload]:
    """Return one AlexNet task per device; the server is so many times as fast as a device.

    Devices that are busy have up to MOST_BACKGROUND endless processes each, and capped ones run the first 5 to 8 stages
    only.

    If merged, there are 8 stages, which end before the next convolution or fully connected layer. Otherwise every one
    of the 11 layers is a stage.
    """
    rng = Random(seed)
    blocks = layers("alexnet")
    times = by_flops(blocks, PI3_ALEXNET_MS)
    model = chain(blocks)
    if is_merged:
        last = [
            index for index, block in enumerate(blocks) if index + 1 == len(blocks) or _is_computing(blocks, index + 1)
        ]
        first = [0, *(index + 1 for index in last[:-1])]
        times = [sum(times[start : stop + 1]) for start, stop in zip(first, last, strict=True)]
        model = replace(model, blocks=tuple(model.blocks[index] for index in last))
    devices = {f"pi{index}": Device({"m": tuple(_noisy(times, rng))}) for index in range(count)}
    limits = Random(f"limits {seed}")
    for name, device in devices.items():
        background, cap = limits.randint(0, MOST_BACKGROUND), limits.randint(*CAPS)
        devices[name] = replace(
            device, background_processes=background if is_busy else 0, first_blocks=cap if is_capped else None
        )
    links = tuple(Link(name, "server", rng.uniform(1, 40), 2.0) for name in devices)
    devices["server"] = Device({"m": tuple(each / ratio for each in times)})
    streams = tuple(Stream(f"s{index}", "m", f"pi{index}") for index in range(count))
    tasks = offloads(Problem({"m": model}, devices, links, streams), "server")
    assert tasks is not None
    return tasks


def _is_computing(blocks: Sequence[BlockAnalysis], index: int) -> bool:
    return not blocks[index].name.startswith("pool")


def _noisy(times: Sequence[float], rng: Random) -> list[float]:
    factor = rng.uniform(0.7, 1.3)
    return [factor * each for each in times]


def every_choice(tasks: Sequence[Offload]) -> Index:
    """Return every combination of cuts, [K, N]."""
    return np.array(list(product(*(range(len(task.routes)) for task in tasks))))


def value_of(score: Score, choice: Sequence[int]) -> float:
    """Return the value of one choice."""
    return float(score(np.array([choice]))[0])


def _variance(tasks: Sequence[Offload]) -> Score:
    snapshot = QueueSnapshot(tasks, SHORTEST)
    return lambda choices: np.asarray(snapshot.delays_ms(choices).var(axis=1))


def _total(tasks: Sequence[Offload], discipline: QueueDiscipline) -> Score:
    snapshot = QueueSnapshot(tasks, discipline)
    return lambda choices: np.asarray(snapshot.delays_ms(choices).sum(axis=1))


def _variance_gain(seed: int, count: int, ratio: float) -> tuple[float, float]:
    """Return how much the variance falls below all local, and the share of stages computed locally.

    All local ignores the caps, as in the paper.
    """
    free, tasks = (
        alexnet_tasks(seed, count, ratio, is_merged=True, is_busy=True, is_capped=is_capped)
        for is_capped in (False, True)
    )
    score = _variance(tasks)
    local = [len(task.routes) - 1 for task in free]
    ends = [greedy(tasks, start, score, EVALUATIONS) for start in starts(tasks)]
    best = min(ends, key=lambda end: value_of(score, end))
    share = mean(cut / last for cut, last in zip(best, local, strict=True))
    return 1 - value_of(score, best) / value_of(_variance(free), local), share
