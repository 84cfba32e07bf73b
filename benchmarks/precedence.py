"""Two-machine flow shops whose jobs must follow their parents: the schedules of HPS, and an exact one for trees.

``parents`` holds the parent of every job, -1 for none: a forest in which parents come first (out-trees).
"""

import heapq
from collections.abc import Sequence

from planning.scheduling.flow_shop import JobTimes, johnson_key, makespan_ms


def sequence_ms(jobs: Sequence[JobTimes], order: Sequence[int]) -> float:
    """Return the makespan of ``jobs`` in ``order``."""
    return makespan_ms([jobs[index] for index in order])


def schedule_by_sinks(jobs: Sequence[JobTimes], parents: Sequence[int]) -> list[int]:
    """Return the order of Duan & Wu's algorithm 4, which respects precedence and is not optimal.

    The current leaves, in Johnson's order, go before the jobs that are ordered already.
    """
    left = set(range(len(jobs)))
    order: list[int] = []
    while left:
        inner = {parents[index] for index in left}
        sinks = sorted((index for index in left if index not in inner), key=lambda index: johnson_key(jobs[index]))
        order = sinks + order
        left -= set(sinks)
    return order


def schedule_by_merging(jobs: Sequence[JobTimes], parents: Sequence[int]) -> list[int]:
    """Return the order of Duan & Wu's algorithm 5 for trees, as printed.

    Children's lists are merged by comparing heads with Johnson's rule. Then the parent is added to the first element,
    whose times are summed up. Theorem 4 says that the order is optimal, which is false. The sum of the times ignores
    that the second machine can start before a group has left the first.
    """
    lists: dict[int, list[tuple[JobTimes, list[int]]]] = {}
    children = _children(parents)
    for index in _leaves_first(parents):
        merged = _merge([lists.pop(child) for child in children[index]])
        times, members = jobs[index], [index]
        if merged:
            (first, second), rest = merged.pop(0)
            times, members = (times[0] + first, times[1] + second), members + rest
        lists[index] = [(times, members), *merged]
    return [index for _, members in _merge([lists[root] for root in children[-1]]) for index in members]


def schedule_by_composition(jobs: Sequence[JobTimes], parents: Sequence[int]) -> list[int]:
    """Return an order with the least makespan; O(n log n) comparisons plus merging, exact for out-trees.

    Sidney's and Monma's composite jobs: u followed by w behaves like one job with times
    a_u + max(0, a_w - b_u) and b_w + max(0, b_u - a_w). While a parent's key is worse than its first child's, they are
    composed (Sidney 1979; Monma & Sidney, Mathematics of Operations Research 4, 1979).
    """
    lists: dict[int, list[tuple[JobTimes, list[int]]]] = {}
    children = _children(parents)
    for index in _leaves_first(parents):
        merged = _merge([lists.pop(child) for child in children[index]])
        times, members = jobs[index], [index]
        while merged and johnson_key(times) > johnson_key(merged[0][0]):
            follower, rest = merged.pop(0)
            times, members = compose(times, follower), members + rest
        lists[index] = [(times, members), *merged]
    return [index for _, members in _merge([lists[root] for root in children[-1]]) for index in members]


def compose(job: JobTimes, follower: JobTimes) -> JobTimes:
    """Return the one job that behaves like ``job`` directly followed by ``follower``."""
    return job[0] + max(0.0, follower[0] - job[1]), follower[1] + max(0.0, job[1] - follower[0])


def _merge(lists: Sequence[list[tuple[JobTimes, list[int]]]]) -> list[tuple[JobTimes, list[int]]]:
    """Merge lists by their heads, each list's own order kept."""
    heads = [(johnson_key(entries[0][0]), place, 0) for place, entries in enumerate(lists) if entries]
    heapq.heapify(heads)
    merged: list[tuple[JobTimes, list[int]]] = []
    while heads:
        _, place, position = heapq.heappop(heads)
        merged.append(lists[place][position])
        if position + 1 < len(lists[place]):
            heapq.heappush(heads, (johnson_key(lists[place][position + 1][0]), place, position + 1))
    return merged


def _children(parents: Sequence[int]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {index: [] for index in range(-1, len(parents))}
    for index, parent in enumerate(parents):
        children[parent].append(index)
    return children


def _leaves_first(parents: Sequence[int]) -> list[int]:
    """Return all jobs, children before parents."""
    children, order, stack = _children(parents), list[int](), [-1]
    while stack:
        node = stack.pop()
        order.append(node)
        stack += children[node]
    return order[:0:-1]
