"""A burst of identical jobs on a monotone chain: how many jobs take which cut, and what no choice can beat.

``curve`` holds (f, g) per cut: computing before it and sending across it, f ascending and g descending.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product
from math import ceil, comb, floor, inf

from services.planner.strategies.johnson import Job, johnson_order, makespan_ms

EXACT_LIMIT = 4000
"""Up to how many combinations of cuts all are compared."""


def virtual_blocks(curve: Sequence[Job]) -> list[int]:
    """Return the cuts worth considering: those that send less than every earlier one (Duan & Wu, section 3.2)."""
    kept: list[int] = []
    least = inf
    for cut, (_, sending) in enumerate(curve):
        if sending < least:
            kept.append(cut)
            least = sending
    return kept


def crossing(curve: Sequence[Job]) -> int:
    """Return the leftmost cut with f >= g by binary search; the last cut if there is none (Duan & Wu, algorithm 2)."""
    low, high = 0, len(curve) - 1
    while low < high:
        middle = (low + high) // 2
        if curve[middle][0] >= curve[middle][1]:
            high = middle
        else:
            low = middle + 1
    return low


def jps_cuts(curve: Sequence[Job], jobs: int, *, floor_ratio: bool = False) -> list[int]:
    """Return a cut per job by Duan & Wu, algorithm 2: a mix of the crossing cut and the one before it.

    Args:
        curve: (f, g) of the cuts worth considering.
        jobs: how many.
        floor_ratio: the ratio of the two cuts as printed, floored to an integer (0 when the jobs at the earlier cut
            are the fewer); otherwise the exact share is rounded.
    """
    star = crossing(curve)
    if star == 0 or curve[star][0] < curve[star][1]:
        return [star] * jobs
    above = curve[star][0] - curve[star][1]
    below = curve[star - 1][1] - curve[star - 1][0]
    if floor_ratio:
        ratio = floor(above / below)
        earlier = round(jobs * ratio / (ratio + 1))
    else:
        earlier = round(jobs * above / (above + below))
    return [star - 1] * earlier + [star] * (jobs - earlier)


def best_uniform(curve: Sequence[Job], jobs: int) -> list[int]:
    """Return the one cut for all jobs with the least makespan."""
    times = [makespan_ms([job] * jobs) for job in curve]
    return [times.index(min(times))] * jobs


def best_cuts(curve: Sequence[Job], jobs: int) -> list[int]:
    """Return a cut per job with (nearly) the least makespan.

    Exact when there are at most EXACT_LIMIT combinations. Otherwise the first and the last job get any cut and the
    jobs between them any two cuts in the best proportion; then single jobs change as long as that helps.
    O(k^2) pairs in the middle times O(k^2) ends, each O(1).
    """
    cuts = len(curve)
    if comb(jobs + cuts - 1, jobs) <= EXACT_LIMIT:
        options = (list(cut) for cut in combinations_with_replacement(range(cuts), jobs))
        return min(options, key=lambda option: ordered_makespan_ms(curve, option))
    best, best_ms = best_uniform(curve, jobs), inf
    best_ms = ordered_makespan_ms(curve, best)
    for first, last in product(range(cuts), repeat=2):
        for middle in _middles(curve, jobs - 2, first, last):
            total_ms = _formula_ms(curve, first, last, middle)
            if total_ms < best_ms - 1e-12:
                option = sorted([first, last, *Counter(middle).elements()])
                best, best_ms = option, min(best_ms, ordered_makespan_ms(curve, option))
    return _improved(curve, best, best_ms)


def _improved(curve: Sequence[Job], cuts: list[int], total_ms: float) -> list[int]:
    """Give single jobs another cut as long as that helps."""
    while True:
        found = None
        for old, new in product(sorted(set(cuts)), range(len(curve))):
            option = list(cuts)
            option[option.index(old)] = new
            option_ms = ordered_makespan_ms(curve, option)
            if option_ms < total_ms - 1e-9 * total_ms:
                found, total_ms = option, option_ms
        if found is None:
            return sorted(cuts)
        cuts = found


def ordered_makespan_ms(curve: Sequence[Job], cuts: Sequence[int]) -> float:
    """Return the makespan of jobs with these cuts in Johnson's order."""
    jobs = [curve[cut] for cut in cuts]
    return makespan_ms([jobs[index] for index in johnson_order(jobs)])


def lower_bound_ms(curve: Sequence[Job], jobs: int) -> float:
    """Return a bound that no choice of cuts and no order can beat.

    For every weight w: w (all f, then the last g) + (1 - w) (the first f, then all g), minimised job by job; the best
    w is one where the lower envelope of w f + (1 - w) g changes cut.
    """
    if jobs == 1:
        return min(first + second for first, second in curve)
    weights = {0.0, 1.0, *_breakpoints(curve)}
    bound = 0.0
    for weight in weights:
        middle = min(weight * f + (1 - weight) * g for f, g in curve)
        head = min(f + (1 - weight) * g for f, g in curve)
        tail = min(weight * f + g for f, g in curve)
        bound = max(bound, (jobs - 2) * middle + head + tail)
    return bound


def _breakpoints(curve: Sequence[Job]) -> Iterator[float]:
    for f, g in curve:
        for other_f, other_g in curve:
            run, rise = other_f - f, g - other_g
            if run > 0 and rise > 0:
                yield rise / (run + rise)


def _middles(curve: Sequence[Job], jobs: int, first: int, last: int) -> Iterator[dict[int, int]]:
    """Yield counts of the middle jobs: every pair of cuts, in the proportions around the balance of f and g."""
    if jobs <= 0:
        yield {}
        return
    lead = curve[last][0] - curve[first][1]
    for low in range(len(curve)):
        low_gap = curve[low][0] - curve[low][1]
        for high in range(low, len(curve)):
            slope = curve[high][0] - curve[high][1] - low_gap
            if slope <= 0:
                yield {low: jobs}
                continue
            balance = -(lead + jobs * low_gap) / slope
            for count in {floor(balance), ceil(balance)}:
                share = min(jobs, max(0, count))
                yield {low: jobs - share, high: share} if high != low else {low: jobs}


def _formula_ms(curve: Sequence[Job], first: int, last: int, middle: dict[int, int]) -> float:
    """Return f(first) + max(f of the others, g of all but the last) + g(last)."""
    computing = curve[last][0] + sum(count * curve[cut][0] for cut, count in middle.items())
    sending = curve[first][1] + sum(count * curve[cut][1] for cut, count in middle.items())
    return curve[first][0] + max(computing, sending) + curve[last][1]
