"""Completion times of jobs of which some differ from those of an earlier simulation, resumed where they first differ.

A local search changes one job at a time, and often only its last steps. Everything before the first step that differs
happens as before. So a simulation keeps checkpoints, and the next one begins at the last of them that holds for both.
The numbers are those of `planning.queueing.numbered_queues`, to the last digit. Every step must take some time.
"""

from collections.abc import Sequence
from typing import NamedTuple

from planning.queueing.numbered_queues import QueueState, Steps, rank_deadlines_ms, serve_by_rank, serve_in_turn
from shared.policy import QueueDiscipline

# Events between checkpoints, at least, and number of checkpoints of a simulation at most.
LEAST_EVENTS, MOST_CHECKPOINTS = 12, 12


class Run(NamedTuple):
    """A simulation.

    Attributes:
        jobs: steps of every job, in starting order.
        deadlines_ms: by job.
        ends_ms: [jobs] when each job ends.
        checkpoints: states before the first event and later ones, ascending.
        steps: number of steps that were simulated.
    """

    jobs: Sequence[Steps]
    deadlines_ms: Sequence[float]
    ends_ms: list[float]
    checkpoints: list[QueueState]
    steps: int


def resumed_run(
    jobs: Sequence[Steps], servers: int, discipline: QueueDiscipline, deadlines_ms: Sequence[float], like: Run | None
) -> Run:
    """Simulate jobs.

    Args:
        jobs: steps of every job, in starting order; at least one each.
        servers: number of servers; even ones are processors.
        discipline: of the processors; not round robin.
        deadlines_ms: by job.
        like: a simulation of as many jobs at as many servers under the same discipline; None if there is none.
    """
    is_ranked = discipline is not QueueDiscipline.FIFO
    kept = (
        [QueueState.beginning(jobs, servers, is_ranked=is_ranked)]
        if like is None
        else like.checkpoints[: _kept(jobs, deadlines_ms, like)]
    )
    total = sum(map(len, jobs))
    every = max(LEAST_EVENTS, (2 if is_ranked else 1) * total // MOST_CHECKPOINTS)
    left = total - sum(kept[-1].done)
    state = kept[-1].copy()
    ranks_ms = rank_deadlines_ms(discipline, deadlines_ms)
    while True:
        if is_ranked:
            state = serve_by_rank(jobs, state, ranks_ms, every)
        else:
            serve_in_turn(jobs, state, every)
        if not state.events:
            return Run(jobs, deadlines_ms, state.ends_ms, kept, left)
        kept.append(state.copy())


def _kept(jobs: Sequence[Steps], deadlines_ms: Sequence[float], like: Run) -> int:
    """Return the number of checkpoints before which no step has been looked at that differs."""
    first: list[tuple[int, int]] = []
    if deadlines_ms != like.deadlines_ms:
        both = zip(deadlines_ms, like.deadlines_ms, strict=True)
        first = [(job, 0) for job, (one, other) in enumerate(both) if one != other]
    for job, (steps, known) in enumerate(zip(jobs, like.jobs, strict=True)):
        if steps is not known:
            first.append((job, _common(steps, known)))
    count = len(like.checkpoints)
    while count > 1:
        seen = like.checkpoints[count - 1].seen
        if all([seen[job] <= same for job, same in first]):
            break
        count -= 1
    return count


def _common(steps: Steps, known: Steps) -> int:
    """Return how many steps may have been looked at: the equal ones, but not the last one of either job."""
    most = min(len(steps), len(known)) - 1
    for place in range(most):
        if steps[place] != known[place]:
            return place
    return most
