"""Fairness of the greedy, its variants, and branch and bound, compared with every choice of cuts."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from rich.table import Table

from benchmarks.claims.kafetzis_claims import alexnet_tasks, every_choice, value_of
from benchmarks.report import console
from planning.scheduling.fair_branch_and_bound import FairnessMeasure, ServiceOrder, fairest
from planning.scheduling.pairwise_exchange import improve_by_exchange
from planning.scheduling.shared_server import Offload, QueueSnapshot, Score
from planning.search.arrays import Array, Index
from planning.strategies.fair_ranks import STEPS_PER_SECOND
from planning.strategies.kafetzis_koutsopoulos import TASKS_PER_SECOND, Start, greedy, starts
from planning.strategies.rank_assignment import assign
from shared.policy import QueueDiscipline

COUNTS = range(3, 7)
SEEDS = range(5)
# Speed of the server relative to a device.
RATIOS = (1.0, 10.0, 100.0)

LARGER = (8, 10, 12)
SHORTEST = QueueDiscipline.SHORTEST_JOB_FIRST
AGGREGATES: dict[str, Callable[[Array], Array]] = {
    "variance": lambda delays: np.asarray(delays.var(axis=1)),
    "total delay": lambda delays: np.asarray(delays.sum(axis=1)),
}


def ends(tasks: Sequence[Offload], what: str) -> dict[str, float]:
    """Return the value of each method's choice in the snapshot; the last is exact."""
    snapshot, aggregate = QueueSnapshot(tasks, SHORTEST), AGGREGATES[what]

    def score(choices: Index) -> Array:
        return aggregate(snapshot.delays_ms(choices))

    found = {
        f"greedy, {start.value}": min(
            value_of(score, greedy(tasks, begin, score, TASKS_PER_SECOND)) for begin in starts(tasks, start)
        )
        for start in (Start.ONES, Start.HALF, Start.USUAL, Start.MULTISTART)
    }
    found["pairwise"] = changed(tasks, score)
    if what == "variance":
        exact = fairest(
            tasks, ServiceOrder.SHORTEST, FairnessMeasure.VARIANCE, steps=STEPS_PER_SECOND, known=found["pairwise"]
        )
        found["branch and bound"] = exact.value
    else:
        found["assignment"] = assign(tasks, SHORTEST)[1]
    return found


def changed(tasks: Sequence[Offload], score: Score) -> float:
    """Return the least value to which changes of one or two tasks lead from all starts."""
    cuts, begins = [len(task.routes) for task in tasks], list(starts(tasks, Start.MULTISTART))
    evaluations = TASKS_PER_SECOND // (len(tasks) * len(begins))
    return min(improve_by_exchange(cuts, begin, score, lambda choice: True, evaluations, seed=0)[1] for begin in begins)


def gaps() -> Table:
    """Return the gap between each method and exhaustive search."""
    table = Table("what", "tasks", "method", "exact in", "median", "worst", title="Above exhaustive search (snapshot)")
    for what, count in product(AGGREGATES, COUNTS):
        over: dict[str, list[float]] = {}
        for seed, ratio in product(SEEDS, RATIOS):
            tasks = alexnet_tasks(seed, count, ratio, is_merged=True)
            snapshot = QueueSnapshot(tasks, SHORTEST)
            least = float(AGGREGATES[what](snapshot.delays_ms(every_choice(tasks))).min())
            for method, value in ends(tasks, what).items():
                over.setdefault(method, []).append(value / least - 1)
        for method, own in over.items():
            exact = f"{sum(gap < 1e-6 for gap in own)} of {len(own)}"
            table.add_row(what, str(count), method, exact, f"{statistics.median(own):.1%}", f"{max(own):.1%}")
    return table


def sizes() -> Table:
    """Return how often branch and bound ends within a second of time budget, and its processor time."""
    table = Table("measure", "tasks", "proved", "median s", "worst s", title="Branch and bound (snapshot, 11 stages)")
    for measure, count in product(FairnessMeasure, (*COUNTS, *LARGER)):
        proved, took_s = 0, []
        for seed, ratio in product(SEEDS, RATIOS):
            tasks = alexnet_tasks(seed, count, ratio)
            started_s = time.process_time()
            proved += fairest(tasks, ServiceOrder.SHORTEST, measure, steps=STEPS_PER_SECOND).proved
            took_s.append(time.process_time() - started_s)
        share = f"{proved} of {len(took_s)}"
        table.add_row(measure.value, str(count), share, f"{statistics.median(took_s):.3f}", f"{max(took_s):.3f}")
    return table


if __name__ == "__main__":
    console().print(gaps())
    console().print(sizes())
