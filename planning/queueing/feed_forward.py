"""Completion times of long bursts whose work flows through the queues in one direction, in arrays."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from planning.queueing.operations import Operation, ServerKey, is_chain

# A resource, and whether this is its queue of first operations. First operations all arrive at 0, before any other
# operation of the resource. So the two queues of a resource are served one after the other.
_Queue = tuple[ServerKey, bool]


def feed_forward_ms(kinds: Sequence[Sequence[Operation]], kind_of_job: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return when each job ends, [N] in ms, if all arrive at 0 in this order and every queue is FIFO.

    The queues are computed one after the other, each after those that feed it, by Lindley's recursion (D. V. Lindley,
    The theory of queues with a single server, 1952). Additions are those of the event loop in the same order, so times
    are equal to the last bit: arrivals that tie there tie here too. O(n log n) for n operations.

    Args:
        kinds: the operations of every kind of job.
        kind_of_job: [N] the kind of every job, in starting order.

    Returns:
        None where no such order of the queues exists. This is so if work returns to a resource that it has left,
        operations are no chains, or an operation takes no time.
    """
    order = np.argsort(kind_of_job, kind="stable")
    used, begins = np.unique(kind_of_job[order], return_index=True)
    members = dict(zip(used.tolist(), np.split(order, begins[1:]), strict=True))
    if not all(_is_timed_chain(kinds[kind]) for kind in members):
        return None
    visits: dict[_Queue, list[tuple[int, float]]] = {}
    for kind in members:
        for step, operation in enumerate(kinds[kind]):
            visits.setdefault((operation.server, step == 0), []).append((kind, operation.duration_ms))
    queues = _in_order([kinds[kind] for kind in members])
    if queues is None:
        return None
    ready_ms, idle_ms = np.zeros(len(kind_of_job)), dict.fromkeys((resource for resource, _ in queues), 0.0)
    for queue in queues:
        if queue not in visits:
            continue
        jobs = np.concatenate([members[kind] for kind, _ in visits[queue]])
        work_ms = np.concatenate([np.full(len(members[kind]), time_ms) for kind, time_ms in visits[queue]])
        # First come, first served; of one instant the lower job number first.
        served = np.lexsort((jobs, ready_ms[jobs]))
        jobs, work_ms = jobs[served], work_ms[served]
        resource, is_first = queue
        # First operations have all arrived when the first of them begins, so their ends are a running sum.
        ends_ms = np.cumsum(work_ms) if is_first else _ends_ms(ready_ms[jobs], work_ms, idle_ms[resource])
        ready_ms[jobs] = ends_ms
        idle_ms[resource] = float(ends_ms[-1])
    return ready_ms


def _ends_ms(arrivals_ms: NDArray[np.float64], work_ms: NDArray[np.float64], idle_ms: float) -> NDArray[np.float64]:
    """Return when each of the jobs of a queue ends, [N] in ms, if its server is idle from ``idle_ms`` on.

    A running maximum of (arrival - work before) would need no loop, but it rounds otherwise than the event loop: two
    jobs that arrive at the next queue at one instant could then change places.
    """
    ends_ms = []
    end_ms = idle_ms
    for arrival_ms, own_ms in zip(arrivals_ms.tolist(), work_ms.tolist(), strict=True):
        end_ms = (end_ms if end_ms > arrival_ms else arrival_ms) + own_ms
        ends_ms.append(end_ms)
    return np.array(ends_ms)


def feeds_forward(kinds: Sequence[Sequence[Operation]]) -> bool:
    """Return whether `feed_forward_ms` can compute when jobs of these kinds end."""
    return all(map(_is_timed_chain, kinds)) and _in_order(kinds) is not None


def _is_timed_chain(kind: Sequence[Operation]) -> bool:
    # An operation without duration can end and start others within one instant. The order of arrivals at the next queue
    # then depends on the event loop.
    return is_chain(kind) and all(operation.duration_ms > 0 for operation in kind)


def _in_order(kinds: Sequence[Sequence[Operation]]) -> list[_Queue] | None:
    """Return the queues, each after those that feed it; None if there is a cycle."""
    before: dict[_Queue, set[_Queue]] = {}
    for kind in kinds:
        last: _Queue | None = None
        for step, operation in enumerate(kind):
            queue = operation.server, step == 0
            before.setdefault(queue, set()).update([last] if last else [])
            if step:
                before[queue].add((operation.server, True))
            last = queue
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        return None
