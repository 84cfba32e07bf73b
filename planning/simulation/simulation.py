"""Simulation of a plan: the timeline of every request.

A tile starts when every row that it needs has arrived. A device computes one thing at a time, in the order of its queue
discipline, and its sends go out one after the other. Computing, sending and receiving overlap. The event loop is that
of `planning.queueing.event_loop`.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import inf

from planning.cost.cost_model import CostModel
from planning.problem.job_order import start_places
from planning.problem.plan import Plan, StreamPlan
from planning.problem.problem import Problem
from planning.queueing.event_loop import RateChange, Rules, SimulatedJob, simulate_jobs
from planning.queueing.operations import Operation, Work
from planning.simulation.arrivals import AllAtOnce, Arrivals, Recorded, arrival_times_ms
from planning.simulation.scenario import Change, rate_changes


@dataclass(frozen=True, slots=True)
class Activity:
    """An interval in which a device computes or sends for a request."""

    stream: str
    request: int
    operation: Operation
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Times of a request, in ms; of a request that never ended, those of its operations that have.

    Attributes:
        end_ms: when its last operation ended; inf if a device or link that it needs stays paused.
        deadline_ms: its deadline, as a time of the run; inf for none.
        waited_ms: time in queues.
        computed_ms: time from the start to the end of its computing (under round robin, sharing included).
        sent_ms: time on links. Tiles work in parallel; all three are sums over them.
    """

    stream: str
    request: int
    arrival_ms: float
    end_ms: float
    deadline_ms: float
    waited_ms: float
    computed_ms: float
    sent_ms: float

    @property
    def latency_ms(self) -> float:
        """Time from arrival to result, in ms."""
        return self.end_ms - self.arrival_ms

    @property
    def finished(self) -> bool:
        """True if it ended."""
        return self.end_ms < inf

    @property
    def late(self) -> bool:
        """True if the deadline was missed."""
        return self.end_ms > self.deadline_ms * (1 + 1e-12)

    @property
    def lateness_ms(self) -> float:
        """Time from the deadline to the result, in ms; 0 if the deadline was met, inf if it never ended."""
        return self.end_ms - self.deadline_ms if self.late else 0.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """The outcome of a simulation: every request, and every interval of work."""

    requests: tuple[RequestTimes, ...]
    activities: tuple[Activity, ...]

    @property
    def makespan_ms(self) -> float:
        """End of the last request, in ms; inf if one never ends."""
        return max((request.end_ms for request in self.requests), default=0.0)

    @property
    def total_delay_ms(self) -> float:
        """Sum of all latencies, in ms."""
        return sum(request.latency_ms for request in self.requests)

    @property
    def delay_variance_ms2(self) -> float:
        """Variance of the latencies (of the population), in ms squared; inf if a request never ends."""
        if not self.requests:
            return 0.0
        if not all(request.finished for request in self.requests):
            return inf
        mean = self.total_delay_ms / len(self.requests)
        return sum((request.latency_ms - mean) ** 2 for request in self.requests) / len(self.requests)

    @property
    def throughput_hz(self) -> float | None:
        """Results per second from the first to the last; None for fewer than two."""
        ends = sorted(request.end_ms for request in self.requests if request.finished)
        if len(ends) < 2 or ends[-1] == ends[0]:
            return None
        return 1000 * (len(ends) - 1) / (ends[-1] - ends[0])

    def latency_percentile_ms(self, percent: float) -> float:
        """Return the least latency that ``percent`` % of the requests do not exceed (nearest rank), in ms.

        Raises:
            ValueError: if there are no requests.
        """
        if not self.requests:
            raise ValueError("no requests")
        ranked = sorted(request.latency_ms for request in self.requests)
        rank = -(-len(ranked) * percent // 100)
        return ranked[max(0, int(rank) - 1)]

    def busy_ms(self) -> dict[tuple[str, Work], float]:
        """Return the time that every device computed and sent, in ms."""
        busy: defaultdict[tuple[str, Work], float] = defaultdict(float)
        for activity in self.activities:
            busy[activity.operation.resource] += activity.end_ms - activity.start_ms
        return dict(busy)

    def link_ms(self) -> dict[tuple[str, str], float]:
        """Return the time that every directed link carried something, in ms."""
        busy: defaultdict[tuple[str, str], float] = defaultdict(float)
        for activity in self.activities:
            if activity.operation.target is not None:
                busy[activity.operation.device, activity.operation.target] += activity.end_ms - activity.start_ms
        return dict(busy)


def simulate(
    problem: Problem,
    plan: Plan | Mapping[str, StreamPlan],
    *,
    seed: int = 0,
    arrivals: Mapping[str, Arrivals] | Arrivals | None = None,
    requests: int | None = None,
    rules: Rules | None = None,
    changes: Sequence[Change] = (),
) -> Timeline:
    """Return the timeline of a plan's requests; the same seed gives the same timeline.

    Args:
        problem: the problem that the plan answers.
        plan: the plan, or only its routes per stream.
        seed: of random arrivals.
        arrivals: of every stream, or one for all. By default all requests arrive at 0.
        requests: number per stream. By default its jobs, or all of a recording. Requests beyond its jobs take the
            routes again, in order.
        rules: queue disciplines and background; by default those of the plan.
        changes: of load factors and bandwidths during the run, in any order. Work under way continues at the new
            rate; the plan does not change.

    Raises:
        NoLinkError: if the plan sends over a link that does not exist.
        UntileableError: if a stage with several tiles lacks row data.
        UnknownPlaceError: if a change names a device or link that does not exist.
    """
    streams = plan.streams if isinstance(plan, Plan) else plan
    if rules is None:
        rules = Rules(plan.disciplines if isinstance(plan, Plan) else {})
    rng = random.Random(seed)
    costs = CostModel(problem)
    ranked: list[tuple[float, tuple[int, int], int, str, SimulatedJob]] = []
    # Requests that arrive at the same instant start in the order of the plan's jobs. Each lap through a stream's jobs
    # ranks behind the lap before it.
    places = {name: own.tolist() for name, own in start_places(streams, _turns(plan)).items()}
    per_lap = 1 + max(map(max, places.values()))
    for position, (name, stream_plan) in enumerate(streams.items()):
        stream = problem.stream(name)
        own = arrivals.get(name, AllAtOnce()) if isinstance(arrivals, Mapping) else arrivals or AllAtOnce()
        count = len(own.times_ms) if isinstance(own, Recorded) else stream.jobs
        times_ms = arrival_times_ms(own, requests or count, rng)
        by_route = {route: costs.operations(stream, route) for route in stream_plan.routes}
        within_ms = problem.deadline_ms(stream) or inf
        order = islice(cycle(stream_plan.jobs_in_order()), len(times_ms))
        for index, (time_ms, route) in enumerate(zip(times_ms, order, strict=True)):
            lap, place = divmod(index, len(places[name]))
            rank = lap * per_lap + places[name][place], position
            ranked.append((time_ms, rank, index, name, SimulatedJob(by_route[route], time_ms, time_ms + within_ms)))
    ranked.sort(key=lambda entry: entry[:2])
    return _timeline([(name, index, job) for _, _, index, name, job in ranked], rules, rate_changes(problem, changes))


def _turns(plan: Plan | Mapping[str, StreamPlan]) -> Sequence[str]:
    return plan.turns if isinstance(plan, Plan) else ()


def _timeline(jobs: Sequence[tuple[str, int, SimulatedJob]], rules: Rules, changes: Sequence[RateChange]) -> Timeline:
    outcome = simulate_jobs([job for _, _, job in jobs], rules, changes)
    activities = tuple(
        Activity(*jobs[span.job][:2], jobs[span.job][2].operations[span.operation], span.start_ms, span.end_ms)
        for span in outcome.spans
    )
    # Round robin gives an operation several spans; its waiting ends with the first.
    first_ms: dict[tuple[int, int], float] = {}
    for span in outcome.spans:
        first_ms.setdefault((span.job, span.operation), span.start_ms)
    requests = []
    for index, (name, number, job) in enumerate(jobs):
        spent = {Work.COMPUTE: 0.0, Work.SEND: 0.0}
        waited_ms = 0.0
        for step, (operation, (arrived_ms, end_ms)) in enumerate(
            zip(job.operations, outcome.steps[index], strict=True)
        ):
            if end_ms == inf:
                continue
            start_ms = first_ms.get((index, step), end_ms)
            waited_ms += start_ms - arrived_ms
            spent[operation.work] += end_ms - start_ms
        end_ms = outcome.end_ms[index]
        requests.append(
            RequestTimes(
                name, number, job.release_ms, end_ms, job.deadline_ms, waited_ms, spent[Work.COMPUTE], spent[Work.SEND]
            )
        )
    return Timeline(tuple(requests), activities)
