"""Completion times of long bursts whose work flows through the queues in one direction, in arrays."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from planning.queueing.operations import Operation, Resource, is_chain

# A resource, and whether this is its queue of first operations. First operations all arrive at 0, before any other
# operation of the resource. So the two queues of a resource are served one after the other.
_Queue = tuple[Resource, bool]


def feed_forward_ms(kinds: Sequence[Sequence[Operation]], kind_of_job: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return when each job ends, [N] in ms, if all arrive at 0 in this order and every queue is FIFO.

    The queues are computed one after the other, each after those that feed it. In a queue the k-th job ends at the
    maximum over j <= k of (arrival of j + work of j to k): Lindley's recursion (D. V. Lindley, The theory of queues
    with a single server, 1952), unrolled to a running maximum. O(n log n) for n operations.

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
            visits.setdefault((operation.resource, step == 0), []).append((kind, operation.duration_ms))
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
        # With W(k) = work of jobs 0..k: end(k) = W(k) + max over j <= k of (arrival(j) - W(j - 1)).
        done_ms = np.cumsum(work_ms)
        begin_ms = np.maximum.accumulate(np.maximum(ready_ms[jobs], idle_ms[queue[0]]) - (done_ms - work_ms))
        ready_ms[jobs] = done_ms + begin_ms
        idle_ms[queue[0]] = float(ready_ms[jobs[-1]])
    return ready_ms


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
            queue = operation.resource, step == 0
            before.setdefault(queue, set()).update([last] if last else [])
            if step:
                before[queue].add((operation.resource, True))
            last = queue
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        return None
