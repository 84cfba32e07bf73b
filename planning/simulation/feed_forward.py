"""When jobs end whose work flows through devices in one direction: queue after queue in arrays, for long bursts."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from planning.cost.operations import Operation, Work, is_chain

Node = tuple[tuple[str, Work], bool]
"""A resource, and whether this is its queue of jobs that begin there: all at time 0, so before all that come later."""


def feed_forward_ms(kinds: Sequence[Sequence[Operation]], which: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return when each job ends, [N] in ms, if all are released at 0 in this order and every queue is FIFO.

    What `pipeline.ends_ms` simulates event by event, up to rounding: in a queue the k-th end is the latest over all
    j <= k of the j-th arrival plus the work of j to k (Lindley's recursion). O(n log n) for n operations.

    Args:
        kinds: the operations of every kind of job.
        which: [N] the kind of every job.

    Returns:
        None where the order of the queues cannot be told beforehand: work comes back to a resource that it has left,
        operations are no chains, or one of them takes no time.
    """
    order = np.argsort(which, kind="stable")
    used, begins = np.unique(which[order], return_index=True)
    members = dict(zip(used.tolist(), np.split(order, begins[1:]), strict=True))
    if not all(is_chain(kinds[kind]) and _takes_time(kinds[kind]) for kind in members):
        return None
    queues: dict[Node, list[tuple[int, float]]] = {}
    for kind in members:
        for step, operation in enumerate(kinds[kind]):
            queues.setdefault((operation.resource, step == 0), []).append((kind, operation.duration_ms))
    nodes = _in_order([kinds[kind] for kind in members])
    if nodes is None:
        return None
    ready, idle_ms = np.zeros(len(which)), dict.fromkeys((resource for resource, _ in nodes), 0.0)
    for node in nodes:
        if node not in queues:
            continue
        jobs = np.concatenate([members[kind] for kind, _ in queues[node]])
        work_ms = np.concatenate([np.full(len(members[kind]), time_ms) for kind, time_ms in queues[node]])
        served = np.lexsort((jobs, ready[jobs]))
        jobs, work_ms = jobs[served], work_ms[served]
        done_ms = np.cumsum(work_ms)
        begin_ms = np.maximum.accumulate(np.maximum(ready[jobs], idle_ms[node[0]]) - (done_ms - work_ms))
        ready[jobs] = done_ms + begin_ms
        idle_ms[node[0]] = float(ready[jobs[-1]])
    return ready


def feeds_forward(kinds: Sequence[Sequence[Operation]]) -> bool:
    """Say whether `feed_forward_ms` can tell when jobs of these kinds end."""
    return all(is_chain(kind) and _takes_time(kind) for kind in kinds) and _in_order(kinds) is not None


def _takes_time(kind: Sequence[Operation]) -> bool:
    return all(operation.duration_ms > 0 for operation in kind)


def _in_order(kinds: Sequence[Sequence[Operation]]) -> list[Node] | None:
    """Return the queues, each after those that feed it; None if they go round in circles."""
    before: dict[Node, set[Node]] = {}
    for kind in kinds:
        last: Node | None = None
        for step, operation in enumerate(kind):
            node = operation.resource, step == 0
            before.setdefault(node, set()).update([last] if last else [])
            if step:
                before[node].add((operation.resource, True))
            last = node
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        return None
