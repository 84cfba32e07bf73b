"""Simulated annealing over the devices, cuts, encodings and order of jobs, on a simulation of its own."""

import math
import random
import time
from collections.abc import Sequence

from benchmarks.own_simulation import Job, OwnSimulation

# Temperature at the beginning and at the end, relative to the present cost.
HOT, COLD = 0.15, 0.0003

# Number of restarts of the annealing.
RESTARTS = 4


class Steps:
    """Progress of an annealing of a fixed number of steps, whose result does not depend on the machine."""

    def __init__(self, steps: int) -> None:
        self._steps, self._done = steps, -1

    def share(self) -> float:
        """Count a step; return the share of all steps that are done."""
        self._done += 1
        return self._done / self._steps


class ProcessorTime:
    """Progress of an annealing of a fixed processor time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._began_s = seconds, time.process_time()
        self._calls, self._share = 0, 0.0

    def share(self) -> float:
        """Return the share of the time that has passed, as of one of the last 20 calls."""
        if self._calls % 20 == 0:
            self._share = (time.process_time() - self._began_s) / self._seconds
        self._calls += 1
        return self._share


def annealed(world: OwnSimulation, progress: Steps | ProcessorTime, rng: random.Random) -> tuple[float, list[Job]]:
    """Return the best jobs that annealing finds, and their cost."""
    best: tuple[float, list[Job]] = (math.inf, [])
    share = progress.share()
    for restart in range(RESTARTS):
        # The restarts take equal shares of what is left.
        start, length = share, (1.0 - share) / (RESTARTS - restart)
        jobs = best[1] if restart == RESTARTS - 1 and best[1] else _random_jobs(world, rng)
        cost = world.cost(jobs)
        while share < start + length:
            temperature = HOT * (COLD / HOT) ** ((share - start) / length)
            changed = _neighbour(world, jobs, rng)
            value = world.cost(changed)
            if value <= cost or (value < math.inf and rng.random() < math.exp(-(value / cost - 1) / temperature)):
                jobs, cost = changed, value
                if cost < best[0]:
                    best = cost, jobs
            if best[0] == 0:
                return best
            share = progress.share()
    return best


def _random_jobs(world: OwnSimulation, rng: random.Random) -> list[Job]:
    """Return jobs that run where they arise, or on one device each, in random order."""
    jobs: list[Job] = []
    for index, stream in enumerate(world.streams):
        blocks = len(world.models[stream["model"]]["blocks"])
        names = [stream["source"], *world.devices]
        routes: list[Job] = [(index, ((blocks, name, "raw"),)) for name in names]
        possible = [job for job in routes if world.operations(job) is not None] or routes[:1]
        jobs += [rng.choice(possible) for _ in range(stream["jobs"])]
    rng.shuffle(jobs)
    return jobs


def _neighbour(world: OwnSimulation, jobs: Sequence[Job], rng: random.Random) -> list[Job]:
    """Return the jobs in another order, or with blocks of one of them, or of all on its route, on another device."""
    changed = list(jobs)
    place = rng.randrange(len(jobs))
    if len(jobs) > 1 and rng.random() < 0.3:
        changed.insert(rng.randrange(len(jobs)), changed.pop(place))
        return changed
    index, stages = jobs[place]
    if rng.random() < 0.2:
        new = rng.choice([own for own in jobs if own[0] == index])
    else:
        devices: list[str] = []
        codecs: dict[int, str] = {}
        for stop, device, codec in stages:
            devices += [device] * (stop - len(devices))
            codecs[stop] = codec
        start = rng.randrange(len(devices))
        stop = min(len(devices), start + 1 + int(len(devices) * rng.random() ** 2))
        if rng.random() < 0.8:
            name = rng.choice(list(world.devices)) if rng.random() < 0.7 else rng.choice(devices)
            devices[start:stop] = [name] * (stop - start)
        cuts = [cut for cut in range(1, len(devices)) if devices[cut] != devices[cut - 1]] + [len(devices)]
        redrawn = rng.choice(cuts)
        codecs[redrawn] = rng.choice(world.codecs(index, redrawn))
        for cut in cuts:
            if cut not in codecs:
                codecs[cut] = rng.choice(world.codecs(index, cut))
        new = index, tuple((cut, devices[cut - 1], codecs[cut]) for cut in cuts)
    together = rng.random() < 0.2
    for other, job in enumerate(jobs):
        if other == place or (together and job == jobs[place]):
            changed[other] = new
    return changed
