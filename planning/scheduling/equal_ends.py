"""Jobs that end at one time: routes that fit into the gaps that all other jobs leave, chosen among thousands at once.

The variance of delays is small if all jobs end at about one time. Which time that is does not matter, so slow routes
are as good as quick ones. A job that is added last, and whose work fits into gaps of every queue, delays no other job.
When it ends follows from the gaps alone, which takes a small part of the time of a simulation of all jobs.

Shapes: R routes, S steps, V visits of all jobs together to servers.
"""

from collections.abc import Sequence
from math import exp, inf, log
from random import Random

import numpy as np

from planning.scheduling.route_arrays import RouteArrays, drawn_routes, varied_routes
from planning.scheduling.route_forms import RouteForm, RouteForms
from planning.scheduling.sequence_costs import Evaluation, Job, SequenceCosts
from planning.search.arrays import Array, Index

# Routes of a stream that are compared for a job: those whose latencies come next below the aimed end, and others.
NEAR, FAR = 1200, 400

# Routes of a stream in all at most.
MOST_ROUTES = 12_000

# Routes like those of jobs that are drawn at once.
VARIED_ROUTES = 500

# Work in steps: of a drawn route, of a comparison, and of that many numbers of it.
DRAWN_ROUTE, COMPARISON, NUMBERS_PER_STEP = 11, 450, 16

# Routes that are simulated for the last job that is put back, best first.
SIMULATED = 4

# Jobs that change at once so that their ends agree: combinations that are simulated, and how far ends may be from the
# mean, relative to it.
SIMULATED_AGREED, WINDOW = 12, 0.15

# Aimed ends: up to so many times the mean end of the best jobs, and for a part of them near one that was good before.
LATEST, NEAR_GOOD, GOOD, SPREAD = 8.0, 0.5, 3, 0.1

# An end to aim at, at least.
_LEAST_MS = 1e-6

# Numbers of jobs that are taken out and put back at once, one of which is drawn. Share of moves of a job's turn.
_TAKEN_OUT, _TURN_SHARE = (1, 1, 2, 2, 3), 0.25


class Gaps:
    """The queues of all jobs but one, and when that one would end on a route.

    A queue is described by its visits in the order of their arrivals. Under first come, first served, a further job
    begins when the last visit before it has ended. It delays the next visit by as much as it ends after its beginning.
    Of other disciplines this is an estimate.
    """

    def __init__(
        self, jobs: Sequence[Job], step_ends_ms: Sequence[Sequence[float]], servers: int, latest_ms: float, turn: int
    ) -> None:
        """Sort the visits.

        Args:
            jobs: all jobs but one, in starting order.
            step_ends_ms: [jobs] ends of every job's steps.
            servers: number of servers.
            latest_ms: a time after which nothing happens.
            turn: the further job's place in the starting order.
        """
        visited: list[int] = []
        times_ms: list[tuple[float, float, float]] = []
        first = [0] * (servers + 1)
        for place, ((_, form), own_ends_ms) in enumerate(zip(jobs, step_ends_ms, strict=True)):
            now_ms = 0.0
            if place < turn and form.steps:
                first[form.steps[0][0]] += 1
            for (one, own_ms), own_end_ms in zip(form.steps, own_ends_ms, strict=True):
                visited.append(one)
                times_ms.append((now_ms, own_end_ms - own_ms, own_end_ms))
                now_ms = own_end_ms
        # Every queue begins and ends with a visit that never hinders. Server ``servers`` stands for no step.
        rims = list(range(servers + 1))
        server = np.array([*visited, *rims, *rims])
        times_ms += [(-1.0, -1.0, 0.0)] * len(rims) + [(latest_ms, inf, inf)] * len(rims)
        arrival_ms, begin_ms, end_ms = np.array(times_ms).T
        # A stable sort keeps the starting order of visits that arrive at one time.
        order = np.lexsort((arrival_ms, server))
        self._span_ms = latest_ms + 2.0
        self._keys: Array = (server * self._span_ms + arrival_ms)[order]
        self._begin_ms, self._end_ms = begin_ms[order], end_ms[order]
        # At time 0 the further job comes after those before it in the starting order.
        self._first: Index = np.searchsorted(server[order], np.arange(servers + 1)) + 1 + np.array(first)

    def ends_ms(self, servers: Index, work_ms: Array) -> tuple[Array, Array]:
        """Return when the further job ends on each route, and by how much it delays other visits: [R] each.

        Args:
            servers: [R, S] server of every step.
            work_ms: [R, S] time of every step.
        """
        now_ms, delays_ms = np.zeros(len(servers)), np.zeros(len(servers))
        for step in range(servers.shape[1]):
            server = servers[:, step]
            if step:
                place = np.searchsorted(self._keys, server * self._span_ms + now_ms, side="right")
            else:
                place = self._first[server]
            now_ms = np.maximum(now_ms, self._end_ms[place - 1]) + work_ms[:, step]
            delays_ms += np.maximum(0.0, now_ms - self._begin_ms[place])
        return now_ms, delays_ms


class EqualEnds:
    """Moves of a local search towards jobs that all end at one time.

    Attributes:
        spent: work of all moves, in steps of jobs.
    """

    def __init__(self, costs: SequenceCosts, forms: Sequence[RouteForms], seed: int) -> None:
        """Begin without routes.

        Args:
            costs: of the problem.
            forms: the routes of every stream.
            seed: of all draws.
        """
        self._costs, self._forms = costs, forms
        self._random, self._draws = Random(seed), np.random.default_rng(seed)
        self._routes: list[RouteArrays] = []
        # Aimed ends of the best beginnings, with their costs.
        self._good: list[tuple[float, float]] = []
        self.spent = 0

    def draw_routes(self, work: int) -> None:
        """Draw more routes of every stream, for about so much work."""
        count = work // (DRAWN_ROUTE * len(self._forms))
        drawn = [drawn_routes(forms, count, self._draws) for forms in self._forms]
        self.spent += DRAWN_ROUTE * count * len(drawn)
        if self._routes:
            drawn = [known.with_more(new, MOST_ROUTES) for known, new in zip(self._routes, drawn, strict=True)]
        self._routes = drawn

    def vary_routes(self, jobs: Sequence[Job]) -> None:
        """Draw more routes of a stream that differ in a part from those of its jobs."""
        stream = self._random.choice(jobs)[0]
        forms = self._forms[stream]
        nodes = np.array([form.nodes for own, form in jobs if own == stream])
        drawn = varied_routes(forms, np.resize(nodes, (VARIED_ROUTES, forms.blocks)), self._draws)
        self._routes[stream] = self._routes[stream].with_more(drawn, MOST_ROUTES)
        self.spent += DRAWN_ROUTE * VARIED_ROUTES

    def any_end_ms(self, mean_ms: float) -> float:
        """Return a random end to aim at, in ms, between the earliest one and LATEST times the mean end of good jobs."""
        earliest_ms = max(
            [_LEAST_MS, *(float(routes.latency_ms[0]) for routes in self._routes if len(routes.latency_ms))]
        )
        return earliest_ms * exp(self._random.uniform(0.0, log(LATEST * max(1.0, mean_ms / earliest_ms))))

    def beginning(
        self, streams: Sequence[int], mean_ms: float, around_ms: float | None
    ) -> tuple[list[Job], Evaluation] | None:
        """Return jobs that were put one by one where they end next to a drawn time; None if a stream has no route.

        Args:
            streams: stream of every job.
            mean_ms: mean end of the best jobs.
            around_ms: a time around which to aim; None for any, and often one that was good before.
        """
        random = self._random
        if around_ms is None and self._good and random.random() < NEAR_GOOD:
            around_ms = random.choice(self._good)[1]
        aimed_ms = self.any_end_ms(mean_ms) if around_ms is None else around_ms * exp(random.gauss(0.0, SPREAD))
        jobs: list[Job] = []
        for stream in random.sample(list(streams), len(streams)):
            fitting = self._fitting(jobs, len(jobs), stream, aimed_ms, 1)
            if not fitting:
                return None
            jobs.append((stream, fitting[0]))
        evaluation = self._evaluate(jobs)
        self._good = sorted([*self._good, (evaluation.cost, aimed_ms)])[:GOOD]
        return jobs, evaluation

    def changed(self, jobs: list[Job], evaluation: Evaluation) -> tuple[list[Job], Evaluation] | None:
        """Return the jobs with some of them put where they end next to the mean of the others; None if none fits."""
        random, count = self._random, len(jobs)
        blame = evaluation.blame
        drawn = sorted(range(count), key=lambda place: blame[place] * random.random(), reverse=True)
        changed: list[Job | None] = [*jobs]
        if random.random() < _TURN_SHARE:
            taken = [random.randrange(count)]
            changed.insert(taken[0], changed.pop(drawn[0]))
        else:
            taken = drawn[: random.choice(_TAKEN_OUT)]
        streams = [job[0] for job in changed if job is not None]
        for place in taken:
            changed[place] = None
        others = [
            evaluation.mean_ms - evaluation.lag_ms[place] for place in range(count) if place not in drawn[: len(taken)]
        ]
        aimed_ms = sum(others) / len(others) if others else evaluation.mean_ms
        for place in taken:
            known = [job for job in changed if job is not None]
            turn = sum(job is not None for job in changed[:place])
            tries = SIMULATED if place == taken[-1] else 1
            fitting = self._fitting(known, turn, streams[place], aimed_ms, tries)
            if not fitting:
                return None
            changed[place] = streams[place], fitting[0]
        whole = [job for job in changed if job is not None]
        best = whole, self._evaluate(whole)
        for form in fitting[1:]:
            other = [*whole[:place], (streams[place], form), *whole[place + 1 :]]
            answer = other, self._evaluate(other)
            best = min(best, answer, key=lambda each: each[1].guide)
        return best

    def agreed(self, jobs: list[Job], evaluation: Evaluation) -> tuple[list[Job], Evaluation] | None:
        """Return the jobs with all of them changed at once so that their ends agree; None if a stream has no route.

        For every job the ends are computed that it could have if the others stay. Then the time is searched that has
        some end of every job next to it. Whether the changes agree with each other is simulated for the best times.
        """
        options = [self._options(jobs, place, evaluation.mean_ms) for place in range(len(jobs))]
        if not all(len(ends_ms) for ends_ms, _ in options):
            return None
        times_ms = np.concatenate([ends_ms for ends_ms, _ in options])
        nearest = np.stack([_nearest(ends_ms, times_ms) for ends_ms, _ in options], axis=1)
        chosen_ms = np.stack([ends_ms[nearest[:, place]] for place, (ends_ms, _) in enumerate(options)], axis=1)
        self.spent += COMPARISON + chosen_ms.size // NUMBERS_PER_STEP
        best: tuple[list[Job], Evaluation] | None = None
        seen: set[tuple[int, ...]] = set()
        for row in np.argsort(chosen_ms.std(axis=1), kind="stable").tolist():
            key = tuple(nearest[row].tolist())
            if key in seen:
                continue
            if len(seen) == SIMULATED_AGREED:
                break
            seen.add(key)
            changed: list[Job] = []
            for (stream, _), (_, places), option in zip(jobs, options, key, strict=True):
                form = self._routes[stream].form(self._forms[stream], int(places[option]))
                if form is not None:
                    changed.append((stream, form))
            if len(changed) == len(jobs):
                answer = changed, self._evaluate(changed)
                best = answer if best is None else min(best, answer, key=lambda each: each[1].guide)
        return best

    def _options(self, jobs: Sequence[Job], place: int, mean_ms: float) -> tuple[Array, Index]:
        """Return ends that a job could have without a delay of others, ascending, and the places of the routes."""
        chosen, ends_ms, delays_ms = self._compared([*jobs[:place], *jobs[place + 1 :]], place, jobs[place][0], mean_ms)
        free = np.flatnonzero((delays_ms <= 0) & (np.abs(ends_ms - mean_ms) <= WINDOW * mean_ms))
        order = free[np.argsort(ends_ms[free], kind="stable")]
        return ends_ms[order], chosen[order]

    def _evaluate(self, jobs: list[Job]) -> Evaluation:
        self.spent += self._costs.work(jobs)
        return self._costs.evaluate(jobs)

    def _fitting(self, jobs: Sequence[Job], turn: int, stream: int, aimed_ms: float, count: int) -> list[RouteForm]:
        """Return the routes on which a further job ends next to a time and delays others least, best first."""
        routes, forms = self._routes[stream], self._forms[stream]
        if not len(routes.latency_ms):
            self.spent += COMPARISON
            return []
        chosen, ends_ms, delays_ms = self._compared(jobs, turn, stream, aimed_ms)
        badness = (ends_ms - aimed_ms) ** 2 + delays_ms**2
        best = np.argpartition(badness, count - 1)[:count] if count < len(badness) else np.arange(len(badness))
        ranked = chosen[best[np.argsort(badness[best], kind="stable")]]
        answers = [routes.form(forms, place) for place in ranked.tolist()]
        return [form for form in answers if form is not None]

    def _compared(self, jobs: Sequence[Job], turn: int, stream: int, aimed_ms: float) -> tuple[Index, Array, Array]:
        """Return places of routes for a further job, when it would end on each, and by how much it delays others."""
        routes, forms = self._routes[stream], self._forms[stream]
        step_ends_ms: list[list[float]] = [[] for _ in jobs]
        self._costs.ends_ms(jobs, step_ends_ms)
        last_ms = max((ends[-1] for ends in step_ends_ms if ends), default=0.0)
        latest_ms = last_ms + float(routes.latency_ms[-1]) + 1.0
        gaps = Gaps(jobs, step_ends_ms, forms.servers, latest_ms, turn)
        stop = int(np.searchsorted(routes.latency_ms, aimed_ms, side="right")) + 1
        start = max(0, stop - NEAR)
        chosen = np.arange(start, min(stop, len(routes.latency_ms)))
        if start:
            chosen = np.concatenate(
                [np.arange(self._random.randrange(1 + start // FAR), start, 1 + start // FAR), chosen]
            )
        servers, work_ms = routes.servers[chosen], routes.work_ms[chosen]
        self.spent += self._costs.work(jobs) + COMPARISON + servers.size // NUMBERS_PER_STEP
        ends_ms, delays_ms = gaps.ends_ms(servers, work_ms)
        return chosen, ends_ms, delays_ms


def _nearest(ends_ms: Array, times_ms: Array) -> Index:
    """Return the place of the end next to each time; ends are ascending, and there is one at least."""
    after = np.minimum(np.searchsorted(ends_ms, times_ms), len(ends_ms) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(times_ms - ends_ms[before] <= ends_ms[after] - times_ms, before, after)
