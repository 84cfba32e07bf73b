"""Kafetzis & Koutsopoulos: a greedy choice of cuts for all tasks that share a server."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.shared_server import (
    MAX_TASKS,
    Offload,
    offloads,
    servers,
    snapshot_delays_ms,
    task_plans,
)
from services.planner.strategies.strategy import conclude, policy_queues, unsupported
from services.planner.strategies.tables import Array
from shared.plan.constraints import violations
from shared.plan.cost import CostModel
from shared.plan.plan import Infeasible, Plan
from shared.plan.policy import Objective
from shared.plan.problem import Problem

Score = Callable[[Sequence[int]], float]

SNAPSHOTS_PER_SECOND, SIMULATIONS_PER_SECOND = 20_000, 1_000
"""How many evaluations a second of time budget buys, for USUAL_TASKS tasks or fewer."""

USUAL_TASKS = 20


@dataclass(frozen=True, slots=True)
class KafetzisKoutsopoulos:
    """Greedy single steps of the cuts, largest decrease of total delay or variance first.

    2 N evaluations per round, O(N log N) each. Resolutions: the stop test is "no decrease" (printed as a strict
    increase); p = 0 (everything offloaded) is allowed; local computing has no background processes beyond the load
    factor; tasks start with one local stage, with half, with all, and with none, and the best end is kept (the paper
    offers the first two). Delays are those of the paper's snapshot (all offloaded parts at the server at time 0)
    unless ``event_driven``; the answer's cost is always the common prediction. The discipline is the policy's; all but
    round robin count as shortest job first in the snapshot. Variance is minimised for the objective
    ``delay_variance``, total delay otherwise.
    """

    name: str = "kafetzis_koutsopoulos"
    description: str = "greedy cuts for all streams that share a server, for total delay or its variance"
    citation: str = (
        "Kafetzis & Koutsopoulos, DNN partitioning and inference task offloading in 6G resource-constrained networks"
    )
    event_driven: bool = False

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best end of the greedy descent over all servers and starts."""
        if (count := sum(stream.jobs for stream in problem.streams)) > MAX_TASKS:
            return unsupported(problem, self.name, f"{count} jobs, more than {MAX_TASKS}")
        best: Plan | None = None
        failure: Infeasible | None = None
        speed = SIMULATIONS_PER_SECOND if self.event_driven else SNAPSHOTS_PER_SECOND
        evaluations = 100 + int(speed * time_budget_s * min(1.0, USUAL_TASKS / count))
        for server in servers(problem):
            tasks = offloads(problem, server)
            if tasks is None:
                continue
            score = self._score(problem, tasks)
            for start in starts(tasks):
                choice = greedy(tasks, start, score, evaluations)
                answer = conclude(problem, self.name, task_plans(problem, tasks, choice))
                if isinstance(answer, Infeasible):
                    failure = failure or answer
                elif best is None or answer.cost < best.cost:
                    best = answer
        if best is not None:
            return best
        return failure or no_offload(problem, self.name, time_budget_s)

    def _score(self, problem: Problem, tasks: Sequence[Offload]) -> Score:
        spread = problem.policy.objective is Objective.DELAY_VARIANCE

        def aggregate(delays_ms: Array) -> float:
            return float(delays_ms.var() if spread else delays_ms.sum())

        def snapshot(choice: Sequence[int]) -> float:
            return aggregate(snapshot_delays_ms(tasks, choice, problem.policy.queue))

        def simulated(choice: Sequence[int]) -> float:
            plans = task_plans(problem, tasks, choice)
            costs = CostModel(problem)
            if violations(costs, plans):
                return float("inf")
            return aggregate(np.array(costs.delays_ms(plans, policy_queues(problem, plans))))

        return simulated if self.event_driven else snapshot


def greedy(tasks: Sequence[Offload], start: Sequence[int], score: Score, evaluations: int) -> list[int]:
    """Return where single steps of largest decrease lead from ``start``; one index of a route per task.

    No round begins once ``evaluations`` scores have been asked for.
    """
    choice, value = list(start), score(start)
    while evaluations > 0:
        steps = [(score(step), step) for step in _steps(tasks, choice)]
        evaluations -= len(steps)
        if not steps:
            return choice
        least, step = min(steps, key=lambda entry: entry[0])
        if not least < value - 1e-12 * abs(value):
            return choice
        choice, value = step, least
    return choice


def starts(tasks: Sequence[Offload]) -> Iterator[list[int]]:
    """Yield one local stage, half of the stages, all local, none local (as far as each task's cuts go)."""
    last = [len(task.routes) - 1 for task in tasks]
    candidates = [[min(1, most) for most in last], [most // 2 for most in last], last, [0] * len(last)]
    yield from (list(start) for start in dict.fromkeys(map(tuple, candidates)))


def no_offload(problem: Problem, name: str, time_budget_s: float) -> Infeasible:
    """Return why some stream can neither run at its source nor use a server."""
    reasons = tuple(reason for stream in problem.streams for reason in diagnose(problem, stream, time_budget_s))
    return Infeasible(name, problem.policy.objective, reasons or (no_split(problem.streams[0], name),))


def _steps(tasks: Sequence[Offload], choice: Sequence[int]) -> Iterator[list[int]]:
    for index, task in enumerate(tasks):
        for delta in (-1, 1):
            if 0 <= choice[index] + delta < len(task.routes):
                step = list(choice)
                step[index] += delta
                yield step
