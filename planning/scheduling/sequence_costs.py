"""Costs of all jobs in their starting order, by the formulas of the cost model, for a local search."""

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

from planning.cost.constraints import exceeds
from planning.problem.problem import Problem
from planning.queueing.numbered_queues import (
    first_come_ends_ms,
    ranked_ends_ms,
    shared_ends_ms,
    timed_ranked_ends_ms,
)
from planning.queueing.resumed_queues import Run, resumed_run
from planning.scheduling.route_forms import RouteForm
from shared.policy import Objective, QueueDiscipline
from shared.segment_memory import segment_memory_bytes

# A job: its stream, by index, and its route.
Job = tuple[int, RouteForm]

# Objectives that depend on when jobs end.
OF_ENDS = frozenset({Objective.MAKESPAN, Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE})

# Work of a move and its evaluation beside that of the steps, in steps: of a simulation, and where order is no matter.
SIMULATION, EVALUATION = 70, 20

# Work of a step where queues are not first come, first served, and where they share the processor.
RANKED, SHARED = 2, 7

# Weight of the mean end in the guide towards a smaller makespan. Most moves do not change the last end.
_MEAN_WEIGHT = 0.05

# Share of the mean end in the usual differences of standard deviations.
_MEAN_SCALE = 0.003

# Weight of all busy times, in a norm of this degree, in the guide towards a smaller bottleneck.
_NORM_WEIGHT, _NORM = 0.3, 8


class Evaluation(NamedTuple):
    """The cost of a sequence of jobs.

    Attributes:
        cost: the number that the objective minimises.
        guide: a number that falls with the cost, and also where a change prepares a lower cost.
        blame: [jobs] the part of every job in the cost.
        scale: the size of usual differences of the guide, for temperatures.
        lag_ms: [jobs] by how much later every job should end, where all should end at one time; otherwise empty.
        mean_ms: mean end of the jobs where there are lags.
        run: the simulation of all jobs, if there was one that others can begin with.
        work: steps of jobs that were simulated or summed.
    """

    cost: float
    guide: float
    blame: list[float]
    scale: float
    lag_ms: Sequence[float] = ()
    mean_ms: float = 0.0
    run: Run | None = None
    work: int = 0


class SequenceCosts:
    """Evaluates the jobs of all streams in their starting order; equals `CostModel.cost` up to rounding.

    Attributes:
        ordered: whether the order of jobs matters.
    """

    def __init__(self, problem: Problem) -> None:
        """Read the objective, the queue discipline and the limits of ``problem``."""
        self._problem = problem
        self._objective, self._queue = problem.policy.objective, problem.policy.queue
        self.ordered = self._objective in OF_ENDS
        self._servers = 2 * len(problem.devices)
        deadlines_ms = [problem.deadline_ms(stream) for stream in problem.streams]
        self._deadlines_ms = [inf if deadline_ms is None else deadline_ms for deadline_ms in deadlines_ms]
        # Of equal deadlines the first that came is served.
        if self._queue is QueueDiscipline.EARLIEST_DEADLINE_FIRST and len(set(self._deadlines_ms)) == 1:
            self._queue = QueueDiscipline.FIFO
        self._memory_bytes = [device.memory_bytes for device in problem.devices.values()]
        self._is_limited = any(limit is not None for limit in self._memory_bytes)
        self._models = [stream.model for stream in problem.streams]

    def work(self, jobs: Sequence[Job]) -> int:
        """Return the work of one evaluation, in steps."""
        return self._ranked_work(sum([len(form.steps) for _, form in jobs]))

    def _ranked_work(self, steps: int) -> int:
        if not self.ordered:
            return EVALUATION + steps
        if self._queue is QueueDiscipline.FIFO:
            return SIMULATION + steps
        return SIMULATION + steps * (SHARED if self._queue is QueueDiscipline.ROUND_ROBIN else RANKED)

    def evaluate(self, jobs: Sequence[Job], like: Evaluation | None = None) -> Evaluation:
        """Return the cost of the jobs.

        Args:
            jobs: in starting order.
            like: of as many jobs, of which most are the same. It saves time and changes no number.
        """
        if self.ordered:
            run = self._resumed(jobs, None if like is None else like.run)
            ends_ms = self.ends_ms(jobs) if run is None else run.ends_ms
            work = self.work(jobs) if run is None else self._ranked_work(run.steps)
            return self._ends(ends_ms)._replace(run=run, work=work)
        return self._of_routes(jobs)._replace(work=self.work(jobs))

    def _of_routes(self, jobs: Sequence[Job]) -> Evaluation:
        """Return the cost where the order of jobs does not matter."""
        match self._objective:
            case Objective.LATENCY:
                blame = [form.latency_ms for _, form in jobs]
            case Objective.ENERGY:
                blame = [form.energy_j for _, form in jobs]
            case Objective.DEADLINE:
                blame = [float(form.off_source) for _, form in jobs]
            case _:
                return self._bottleneck(jobs)
        mean = sum(blame) / len(blame)
        return Evaluation(mean, mean, blame, mean)

    def busy_ms(self, jobs: Sequence[Job]) -> list[float]:
        """Return the busy time of every server for all jobs, [2 N] in ms."""
        busy = [0.0] * self._servers
        for _, form in jobs:
            for server, time_ms in form.steps:
                busy[server] += time_ms
        return busy

    def fits(self, jobs: Sequence[Job]) -> bool:
        """Return whether the jobs together keep the memory of devices and the number of devices of a stream."""
        most = self._problem.policy.max_devices
        if most is None and not self._is_limited:
            return True
        used: dict[int, set[int]] = {}
        held: dict[int, set[tuple[str, int, int]]] = {}
        for stream, form in dict.fromkeys(jobs):
            for device, start, stop in form.segments:
                used.setdefault(stream, set()).add(device)
                held.setdefault(device, set()).add((self._models[stream], start, stop))
        if most is not None and any(len(devices) > most for devices in used.values()):
            return False
        return all(self._holds(device, segments) for device, segments in held.items())

    def _holds(self, device: int, segments: set[tuple[str, int, int]]) -> bool:
        limit = self._memory_bytes[device]
        if limit is None:
            return True
        models = self._problem.models
        blocks = [block for model, start, stop in sorted(segments) for block in models[model].blocks[start:stop]]
        parameters = (block.parameter_bytes for block in blocks)
        return not exceeds(segment_memory_bytes(parameters, (block.working_bytes for block in blocks)), limit)

    def _bottleneck(self, jobs: Sequence[Job]) -> Evaluation:
        busy = self.busy_ms(jobs)
        worst = max(busy)
        if worst <= 0:
            return Evaluation(0.0, 0.0, [0.0] * len(jobs), 0.0)
        norm = worst * sum([(time_ms / worst) ** _NORM for time_ms in busy]) ** (1 / _NORM)
        critical = busy.index(worst)
        blame = [sum([time_ms for server, time_ms in form.steps if server == critical]) for _, form in jobs]
        guide = ((1 - _NORM_WEIGHT) * worst + _NORM_WEIGHT * norm) / len(jobs)
        return Evaluation(worst / len(jobs), guide, blame, guide)

    def _resumed(self, jobs: Sequence[Job], like: Run | None) -> Run | None:
        """Return a simulation, or None where it cannot be resumed."""
        if self._queue is QueueDiscipline.ROUND_ROBIN or not all([form.is_timed for _, form in jobs]):
            return None
        deadlines_ms = [self._deadlines_ms[stream] for stream, _ in jobs]
        steps = [form.steps for _, form in jobs]
        return resumed_run(steps, self._servers, self._queue, deadlines_ms, like)

    def _ends(self, ends_ms: list[float]) -> Evaluation:
        total_ms = sum(ends_ms)
        if self._objective is Objective.TOTAL_DELAY:
            return Evaluation(total_ms, total_ms, ends_ms, total_ms)
        mean_ms = total_ms / len(ends_ms)
        if self._objective is Objective.MAKESPAN:
            last_ms = max(ends_ms)
            guide_ms = last_ms + _MEAN_WEIGHT * mean_ms
            return Evaluation(last_ms, guide_ms, ends_ms, guide_ms)
        lag_ms = [mean_ms - end_ms for end_ms in ends_ms]
        variance = sum([distance_ms * distance_ms for distance_ms in lag_ms]) / len(lag_ms)
        deviation_ms, blame = sqrt(variance), list(map(abs, lag_ms))
        # Ends may agree to a small part of the mean, and yet a better agreement lies behind changes of some per cent.
        return Evaluation(variance, deviation_ms, blame, deviation_ms + _MEAN_SCALE * mean_ms, lag_ms, mean_ms)

    def ends_ms(self, jobs: Sequence[Job], step_ends_ms: list[list[float]] | None = None) -> list[float]:
        """Return when each job ends, [jobs] in ms.

        Args:
            jobs: in starting order.
            step_ends_ms: [jobs] lists to which the ends of every job's steps are appended; None if they are not needed.
        """
        steps, servers, queue = [form.steps for _, form in jobs], self._servers, self._queue
        if queue is QueueDiscipline.ROUND_ROBIN:
            return shared_ends_ms(steps, servers, step_ends_ms)
        is_timed = all([form.is_timed for _, form in jobs])
        if queue is QueueDiscipline.FIFO and is_timed:
            return first_come_ends_ms(steps, servers, step_ends_ms)
        deadlines_ms = [self._deadlines_ms[stream] for stream, _ in jobs]
        ranked = timed_ranked_ends_ms if is_timed else ranked_ends_ms
        return ranked(steps, servers, queue, deadlines_ms, step_ends_ms)
