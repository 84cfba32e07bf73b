"""The cost model of plans: the only prediction, which strategies, tests and external checkers share."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from planning.cost.objective import objective_cost
from planning.cost.route_costs import RouteCostModel
from planning.problem.job_order import start_places
from planning.problem.plan import CostPrediction, StreamPlan
from planning.problem.problem import Stream
from planning.queueing.completion_times import fifo_ends_ms, identical_makespan_ms
from planning.queueing.event_loop import Rules, SimulatedJob, simulate_jobs
from planning.queueing.operations import Operation, ServerKey
from shared.policy import Objective, QueueDiscipline


class CostModel(RouteCostModel):
    """Predicts the costs of a problem's plans; `RouteCostModel` predicts those of single routes.

    It holds look-up tables of the problem only, and never changes.
    """

    def predict_stream(self, stream: Stream, plan: StreamPlan) -> CostPrediction:
        """Return the cost of one stream's routes when no other stream runs."""
        return self.predict({stream.name: plan})

    def predict(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> CostPrediction:
        """Return the cost of a whole plan: means over all requests, throughput and makespan of all together.

        Args:
            plans: the routes of every stream.
            disciplines: queue discipline per device; devices not named are FIFO.
            turns: the order in which the streams' jobs start; see `Plan.turns`.
        """
        return self.predict_means(plans, self.makespan_ms(plans, disciplines, turns))

    def predict_means(self, plans: Mapping[str, StreamPlan], makespan_ms: float) -> CostPrediction:
        """Return the cost of a whole plan whose makespan is known.

        Throughput is 1000 / (the largest busy time of a device's computing or sending per request, in ms). Separate
        links send each for itself.
        """
        busy: defaultdict[ServerKey, float] = defaultdict(float)
        latency_ms = energy_j = source_share = 0.0
        jobs = 0
        for name, plan in plans.items():
            stream = self.stream(name)
            for route in plan.routes:
                own = self.route_cost(stream, route)
                jobs += route.jobs
                latency_ms += route.jobs * own.latency_ms
                energy_j += route.jobs * own.energy_j
                source_share += route.jobs * own.source_share
                for server, time_ms in own.server_ms.items():
                    busy[server] += route.jobs * time_ms
        bottleneck_ms = max(busy.values(), default=0.0) / jobs
        return CostPrediction(
            latency_ms=latency_ms / jobs,
            throughput_hz=1000 / bottleneck_ms if bottleneck_ms > 0 else None,
            energy_j=energy_j / jobs,
            makespan_ms=makespan_ms,
            source_share=source_share / jobs,
        )

    def makespan_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> float:
        """Return when the last of all jobs ends if every stream's burst arrives at 0, in ms."""
        # One route of one stream is a permutation flow shop of identical jobs, which has a closed form.
        if len(plans) == 1 and _first_come(disciplines):
            ((name, plan),) = plans.items()
            if len(plan.routes) == 1:
                route = plan.routes[0]
                closed = identical_makespan_ms(self.operations(self.stream(name), route), route.jobs)
                if closed is not None:
                    return closed
        return max(self.delays_ms(plans, disciplines, turns), default=0.0)

    def delays_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> tuple[float, ...]:
        """Return when each job ends if every stream's burst arrives at 0, in starting order, in ms.

        Devices without a discipline are FIFO; round robin shares the processor in infinitely small slots.
        """
        return self.simulated_ms(*self._job_kinds(plans, turns), disciplines)

    def simulated_ms(
        self,
        names: Sequence[str],
        kinds: Sequence[tuple[Operation, ...]],
        kind_of_job: NDArray[np.int64],
        disciplines: Mapping[str, QueueDiscipline] | None,
    ) -> tuple[float, ...]:
        """Return when each job ends if all arrive at 0, [jobs] in ms.

        Args:
            names: [K] the stream of every kind of job.
            kinds: [K] their operations.
            kind_of_job: [jobs] the kind of each, in starting order.
            disciplines: queue discipline per device.
        """
        if _first_come(disciplines):
            return fifo_ends_ms(kinds, kind_of_job)
        deadlines_ms = {name: self.problem.deadline_ms(self.stream(name)) or inf for name in set(names)}
        jobs = [SimulatedJob(kinds[kind], 0.0, deadlines_ms[names[kind]]) for kind in kind_of_job.tolist()]
        return simulate_jobs(jobs, Rules(disciplines or {})).end_ms

    def cost(
        self,
        objective: Objective,
        plans: Mapping[str, StreamPlan],
        predicted: CostPrediction,
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> float:
        """Return the number that ``objective`` minimises, by the formula and in the unit of `objective_cost`."""
        return objective_cost(
            objective,
            predicted,
            ends_ms=lambda: self.delays_ms(plans, disciplines, turns),
            off_source_blocks=lambda: self._mean_off_source_blocks(plans),
        )

    def _mean_off_source_blocks(self, plans: Mapping[str, StreamPlan]) -> float:
        blocks, jobs = 0.0, 0
        for name, plan in plans.items():
            stream = self.stream(name)
            jobs += sum(route.jobs for route in plan.routes)
            blocks += sum(route.jobs * self.off_source_blocks(stream, route) for route in plan.routes)
        return blocks / jobs

    def _job_kinds(
        self, plans: Mapping[str, StreamPlan], turns: Sequence[str]
    ) -> tuple[list[str], list[tuple[Operation, ...]], NDArray[np.int64]]:
        """Return stream and operations of every route, and [jobs] the route of every job in starting order."""
        names: list[str] = []
        kinds: list[tuple[Operation, ...]] = []
        taken, ranks = [], []
        places = start_places(plans, turns)
        for name, plan in plans.items():
            stream = self.stream(name)
            # [jobs] the kind of each job before ordering, then in the stream's own order.
            own = np.repeat(np.arange(len(kinds), len(kinds) + len(plan.routes)), [route.jobs for route in plan.routes])
            names += [name] * len(plan.routes)
            kinds += [self.operations(stream, route) for route in plan.routes]
            taken.append(own[np.array(plan.order, dtype=np.int64)])
            ranks.append(places[name])
        # A stable sort serves streams of equal rank in the order of ``plans``.
        return names, kinds, np.concatenate(taken)[np.argsort(np.concatenate(ranks), kind="stable")]


def _first_come(disciplines: Mapping[str, QueueDiscipline] | None) -> bool:
    return all(discipline is QueueDiscipline.FIFO for discipline in (disciplines or {}).values())
