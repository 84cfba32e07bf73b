"""Local search over the routes and the starting order of all jobs, for every objective and any number of streams."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, log
from random import Random

import numpy as np

from planning.problem.problem import Problem
from planning.scheduling.equal_ends import EqualEnds
from planning.scheduling.route_forms import RouteForm, RouteForms
from planning.scheduling.route_moves import changed_route
from planning.scheduling.sequence_costs import Evaluation, Job, SequenceCosts
from planning.search.search_clock import ENDLESS, SearchClock
from shared.policy import Objective

# Work of the cheapest route under prices, in steps: a fixed part, and one for so many numbers of the stream's arrays.
PRICED_ROUTE, NUMBERS_PER_STEP = 800, 12

# Number of routes of a stream that are kept for later moves.
POOLED = 64

# Without work for so many evaluations the search does not begin.
FEWEST_EVALUATIONS = 30

# Work of a move that leads nowhere.
EMPTY_MOVE = 5

# Shares of the changes of a route: to the cheapest one under prices, and to a known one.
PRICED_SHARE, POOL_SHARE = 0.05, 0.2

# Where all jobs should end at one time: share of the changes of a route that fit its latency to that time if no job
# waits, and how many places around the best latency are usual.
FITTED_SHARE, FITTED_AWAY = 0.3, 2.0

# Numbers of jobs up to which they are few, and fewest: few jobs hardly wait for each other.
FEW_JOBS, FEWEST_JOBS = 12, 6

# Prices of a busy server. For ends of jobs: 1 + factor x load^degree per ms; for the bottleneck: load^degree + least.
_FACTORS, _DEGREES = (0.5, 1.0, 2.0, 4.0, 8.0), (1, 2)
_STEEP_DEGREES, _LEAST = (2, 4, 8, 16), (0.01, 0.1, 1.0)

# A cost has to be lower by this share to count as better.
_MIN_GAIN = 1e-9


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a search anneals.

    Attributes:
        first_cycle, second_cycle: work of the first two cycles, in steps of jobs. Each further one has twice as much as
            the one before.
        hot, cold: temperature at the beginning and at the end of a cycle, relative to the scale of the present jobs.
        order_share: share of the moves that change the order where it matters.
        together_share: share of the changes of a route that all jobs of the route follow.
        lateness: larger numbers change later stages of a route more often; 1 changes all equally.
        drawn_share, begun_share, annealed_share: only where all jobs should end at one time: share of a cycle's work in
            which routes are drawn, and shares after which annealing begins and ends. Before it jobs are put where they
            end at one time one by one, and after it they are taken out and put back.
        varied_share: share of the moves after the annealing that draw routes like those of the present jobs before.
        agreed_share: share of the beginnings that are changed once more, and of the moves after the annealing, in which
            all jobs change at once so that their ends agree.
    """

    first_cycle: int
    second_cycle: int
    hot: float
    cold: float
    order_share: float
    together_share: float
    lateness: float
    drawn_share: float = 0.0
    begun_share: float = 0.0
    annealed_share: float = 1.0
    varied_share: float = 0.0
    agreed_share: float = 0.0

    def work(self, cycle: int) -> int:
        """Return the work of a cycle; the first one is 0."""
        return self.second_cycle * 2 ** (cycle - 1) if cycle else self.first_cycle


USUAL_SCHEDULE = Schedule(
    first_cycle=140_000,
    second_cycle=280_000,
    hot=0.08,
    cold=0.0005,
    order_share=0.35,
    together_share=0.25,
    lateness=1.0,
)

# Where all jobs should end at one time, most good solutions keep jobs waiting for their last steps, which are short and
# follow each other. They are found by long annealing. Changes of the last stages alone adjust the ends of a job. Few
# jobs hardly wait for each other, so that their routes can be chosen together, which many short cycles try. The fewer
# they are, the less annealing helps.
EQUAL_SCHEDULE = Schedule(
    first_cycle=160_000,
    second_cycle=2_400_000,
    hot=0.2,
    cold=0.001,
    order_share=0.12,
    together_share=0.1,
    lateness=2.0,
    drawn_share=0.02,
    begun_share=0.06,
    annealed_share=0.85,
    varied_share=0.1,
)
FEW_EQUAL_SCHEDULE = replace(
    EQUAL_SCHEDULE,
    first_cycle=140_000,
    second_cycle=280_000,
    hot=0.1,
    cold=0.002,
    drawn_share=0.12,
    begun_share=0.25,
    annealed_share=0.8,
    varied_share=1.0,
    agreed_share=0.3,
)
FEWEST_EQUAL_SCHEDULE = replace(FEW_EQUAL_SCHEDULE, annealed_share=0.55)


class FinishingSearch:
    """Simulated annealing in cycles, from the best jobs known.

    A move changes the place of a job in the starting order, or the route of a job or of all jobs on a route: to a
    route of the pool, to a random neighbour (`changed_route`), or to the cheapest route under prices that grow with the
    load of servers. Jobs to which the evaluation gives more blame are changed more often. A worse result is accepted
    with the probability exp(-relative loss / temperature) (Kirkpatrick, Gelatt & Vecchi, Science 220, 1983).

    Where all jobs should end at one time, a job also takes a route whose latency differs by what the job is early or
    late, and `EqualEnds` makes moves before and after the annealing of every cycle.

    The temperature depends on the work since the beginning of a cycle only. So a search with more work begins as one
    with less, and never ends with a worse result. Invariant: ``best`` fits and costs ``best_cost``; it is empty and
    infinite without a start that fits.

    Attributes:
        best: the best jobs so far, in starting order.
        best_cost: their cost.
    """

    def __init__(self, problem: Problem, forms: Sequence[RouteForms], seed: int) -> None:
        """Prepare without a start.

        Args:
            problem: the problem.
            forms: the routes of every stream.
            seed: of all draws.
        """
        self._costs = SequenceCosts(problem)
        self._forms = forms
        self._random = Random(seed)
        self._pools: list[list[RouteForm]] = [[] for _ in forms]
        self._spent = self._cycles = 0
        is_equal = problem.policy.objective is Objective.DELAY_VARIANCE
        self._schedule = _schedule(problem)
        self._cycle_work = self._cycle_spent = 0
        self.best: list[Job] = []
        self.best_cost = inf
        self._now: list[Job] = []
        self._state = Evaluation(inf, inf, [], inf)
        self._equal_ends: EqualEnds | None = None
        if is_equal:
            self._equal_ends = EqualEnds(self._costs, forms, seed)
        # The best jobs that this cycle has put at one time, until its annealing begins, and the end that it aims at.
        self._begun: tuple[list[Job], Evaluation] | None = None
        self._around_ms: float | None = None
        # Places of the present jobs, those with more blame first.
        self._blamed: list[int] = []

    def add_start(self, jobs: list[Job]) -> None:
        """Add the routes of ``jobs`` to the pool, and go on from them if they are the best."""
        for stream, form in dict.fromkeys(jobs):
            self._add_to_pool(stream, form)
        self._spent += self._costs.work(jobs)
        evaluation = self._costs.evaluate(jobs)
        if evaluation.cost < self.best_cost * (1 - _MIN_GAIN) and self._costs.fits(jobs):
            self._continue_from(jobs, evaluation)

    def run(self, work: int, enough: float = 0.0, clock: SearchClock = ENDLESS) -> None:
        """Search until ``work`` steps are done since the search was made, the cost is ``enough``, or the time is over.

        Nothing happens if the work does not suffice for some tens of evaluations.
        """
        if not self.best or work < FEWEST_EVALUATIONS * self._costs.work(self.best):
            return
        while self._spent < work and self.best_cost > enough and not clock.is_over():
            if self._cycle_spent >= self._cycle_work:
                self._begin_cycle()
            before = self._spent
            share = self._cycle_spent / self._cycle_work
            if self._equal_ends is None:
                self._anneal(share)
            else:
                self._equalise(self._equal_ends, share)
            self._cycle_spent += self._spent - before

    def _begin_cycle(self) -> None:
        """Begin a cycle with more work than the one before."""
        self._cycle_work = self._schedule.work(self._cycles)
        self._cycle_spent = 0
        self._cycles += 1
        self._continue_from(self.best, self._costs.evaluate(self.best))
        self._begun = None

    def _anneal(self, share: float) -> None:
        """Make a move; accept it by the temperature after this share of an annealing."""
        costs, schedule = self._costs, self._schedule
        temperature = schedule.hot * (schedule.cold / schedule.hot) ** share
        changed = self._changed()
        if changed is None:
            self._spent += EMPTY_MOVE
            return
        evaluation = costs.evaluate(changed, self._state)
        self._spent += evaluation.work
        most = self._state.guide - temperature * evaluation.scale * log(1 - self._random.random())
        if evaluation.guide <= most and costs.fits(changed):
            self._continue_from(changed, evaluation)

    def _equalise(self, equal_ends: EqualEnds, share: float) -> None:
        """Make a move towards jobs that all end at one time; its kind depends on the share of the cycle.

        Odd cycles aim at one end, drawn at random, and anneal the best jobs that were put there. Even cycles aim at any
        end, and anneal the best jobs of all.
        """
        before = equal_ends.spent
        if share == 0.0:
            equal_ends.draw_routes(int(self._schedule.drawn_share * self._cycle_work))
            self._around_ms = equal_ends.any_end_ms(self._state.mean_ms) if self._cycles % 2 else None
        elif share < self._schedule.begun_share:
            self._begin(equal_ends)
        elif share < self._schedule.annealed_share:
            if self._begun is not None and self._around_ms is not None:
                self._continue_from(*self._begun)
            self._begun = None
            begun_share = self._schedule.begun_share
            self._anneal((share - begun_share) / (self._schedule.annealed_share - begun_share))
        else:
            if self._random.random() < self._schedule.varied_share:
                equal_ends.vary_routes(self._now)
            move = equal_ends.agreed if self._random.random() < self._schedule.agreed_share else equal_ends.changed
            changed = move(self._now, self._state)
            if changed is not None and changed[1].guide <= self._state.guide and self._costs.fits(changed[0]):
                self._continue_from(*changed)
        self._spent += equal_ends.spent - before

    def _begin(self, equal_ends: EqualEnds) -> None:
        """Put all jobs at one time one by one, and for a part of the beginnings change them together."""
        begun = equal_ends.beginning([stream for stream, _ in self.best], self._state.mean_ms, self._around_ms)
        if begun is None or not self._costs.fits(begun[0]):
            return
        self._begin_from(*begun)
        if self._random.random() < self._schedule.agreed_share:
            agreed = equal_ends.agreed(*begun)
            if agreed is not None and self._costs.fits(agreed[0]):
                self._begin_from(*agreed)

    def _begin_from(self, jobs: list[Job], evaluation: Evaluation) -> None:
        """Note jobs that annealing may begin with, and go on from them if they are the best."""
        if self._begun is None or evaluation.cost < self._begun[1].cost:
            self._begun = jobs, evaluation
        if evaluation.cost < self.best_cost * (1 - _MIN_GAIN):
            self._continue_from(jobs, evaluation)

    def _continue_from(self, jobs: list[Job], evaluation: Evaluation) -> None:
        """Make jobs that fit the present ones, and the best ones if they are."""
        if evaluation.cost < self.best_cost * (1 - _MIN_GAIN):
            self.best, self.best_cost = jobs, evaluation.cost
        self._now, self._state = jobs, evaluation
        self._blamed = sorted(range(len(jobs)), key=evaluation.blame.__getitem__, reverse=True)

    def _changed(self) -> list[Job] | None:
        """Return the present jobs with a change, or None if the draw changes nothing."""
        random, count = self._random, len(self._now)
        place = self._blamed[int(count * random.random() ** 2)]
        if self._costs.ordered and count > 1 and random.random() < self._schedule.order_share:
            return self._reordered(place)
        stream, form = job = self._now[place]
        new = self._rerouted(place)
        if new is None or new is form:
            return None
        changed = list(self._now)
        if random.random() < self._schedule.together_share:
            return [(stream, new) if other == job else other for other in changed]
        changed[place] = stream, new
        return changed

    def _reordered(self, place: int) -> list[Job] | None:
        """Return the jobs with one of them swapped with another, or moved to another place."""
        random, changed = self._random, list(self._now)
        other = random.randrange(len(changed))
        if random.random() < 1 / 3:
            changed[place], changed[other] = changed[other], changed[place]
        else:
            changed.insert(other, changed.pop(place))
        return None if changed == self._now else changed

    def _rerouted(self, place: int) -> RouteForm | None:
        """Return another route for a job."""
        random, state = self._random, self._state
        stream, form = self._now[place]
        if state.lag_ms:
            lag_ms = state.lag_ms[place]
            # The less a job waits, the better the latency of a route tells when it ends.
            if random.random() * (state.mean_ms - lag_ms) < FITTED_SHARE * form.latency_ms:
                away = int(random.gauss(0.0, FITTED_AWAY))
                return self._forms[stream].nearest(form.latency_ms + lag_ms, away)
        draw = random.random()
        if draw < PRICED_SHARE:
            return self._priced(place)
        if draw < PRICED_SHARE + POOL_SHARE:
            others = [own for index, own in self._now if index == stream and own is not form]
            return random.choice(others if others and random.random() < 0.5 else self._pools[stream])
        return changed_route(self._forms[stream], form, random, self._schedule.lateness)

    def _priced(self, place: int) -> RouteForm | None:
        """Return the cheapest route for a job if busy servers cost more, by the busy times of the other jobs."""
        random, stream = self._random, self._now[place][0]
        forms = self._forms[stream]
        self._spent += PRICED_ROUTE + forms.tables.transfer_ms.size // NUMBERS_PER_STEP
        busy_ms = np.array(self._costs.busy_ms([*self._now[:place], *self._now[place + 1 :]]))
        load = busy_ms / (busy_ms.max() or 1.0)
        if self._costs.ordered:
            prices = 1 + random.choice(_FACTORS) * load ** random.choice(_DEGREES)
        else:
            prices = load ** random.choice(_STEEP_DEGREES) + random.choice(_LEAST)
        form = forms.cheapest(prices)
        if form is not None:
            self._add_to_pool(stream, form)
        return form

    def _add_to_pool(self, stream: int, form: RouteForm) -> None:
        pool = self._pools[stream]
        if form not in pool and len(pool) < POOLED:
            pool.append(form)


def _schedule(problem: Problem) -> Schedule:
    if problem.policy.objective is not Objective.DELAY_VARIANCE:
        return USUAL_SCHEDULE
    jobs = sum(stream.jobs for stream in problem.streams)
    if jobs > FEW_JOBS:
        return EQUAL_SCHEDULE
    return FEW_EQUAL_SCHEDULE if jobs > FEWEST_JOBS else FEWEST_EQUAL_SCHEDULE
