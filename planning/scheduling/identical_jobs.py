"""A burst of identical jobs on a monotone chain: how many jobs take which cut, and what no choice can beat.

``curve`` holds (f, g) per cut: computing before it and sending across it, f ascending and g descending.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, product
from math import comb, floor, inf

import numpy as np

from planning.scheduling.flow_shop import JobTimes, groups_makespan_ms, johnson_key
from planning.search.arrays import Array

Counts = Mapping[int, int]
"""How many jobs take each cut."""

EXACT_LIMIT = 300
"""Up to how many combinations of cuts all are compared."""

WIDEST = 14
"""How many cuts a search over four of them looks at."""

BEST_ENDS = 12
"""How many of the best choices by the closed form are put in order."""

MAX_ORDERED_JOBS = 20_000
"""How many jobs are put in order at most while single ones change their cut."""


def virtual_blocks(curve: Sequence[JobTimes]) -> list[int]:
    """Return the cuts worth considering: those that send less than every earlier one (Duan & Wu, section 3.2)."""
    kept: list[int] = []
    least = inf
    for cut, (_, sending) in enumerate(curve):
        if sending < least:
            kept.append(cut)
            least = sending
    return kept


def pareto_cuts(curve: Sequence[JobTimes]) -> list[int]:
    """Return the cuts that no other beats in both f and g, f ascending; those of a non-monotone chain, too."""
    kept: list[int] = []
    least = inf
    for cut in sorted(range(len(curve)), key=lambda cut: curve[cut]):
        if curve[cut][1] < least:
            kept.append(cut)
            least = curve[cut][1]
    return kept


def crossing(curve: Sequence[JobTimes]) -> int:
    """Return the leftmost cut with f >= g by binary search; the last cut if there is none (Duan & Wu, algorithm 2)."""
    low, high = 0, len(curve) - 1
    while low < high:
        middle = (low + high) // 2
        if curve[middle][0] >= curve[middle][1]:
            high = middle
        else:
            low = middle + 1
    return low


def jps_cuts(curve: Sequence[JobTimes], jobs: int, *, floor_ratio: bool = False) -> list[int]:
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


def best_uniform(curve: Sequence[JobTimes], jobs: int) -> list[int]:
    """Return the one cut for all jobs with the least makespan."""
    times = [groups_makespan_ms([(job, jobs)]) for job in curve]
    return [times.index(min(times))] * jobs


def best_cuts(curve: Sequence[JobTimes], jobs: int) -> list[int]:
    """Return a cut per job with (nearly) the least makespan.

    Exact when there are at most EXACT_LIMIT combinations. Otherwise the first and the last job get any cut and the
    jobs between them any two cuts in the best proportion; then single jobs change as long as that helps.
    O(k^4) for k cuts, of which at most WIDEST are looked at: those nearest to the lower convex hull.
    """
    cuts = len(curve)
    if comb(jobs + cuts - 1, jobs) <= EXACT_LIMIT:
        options = (list(cut) for cut in combinations_with_replacement(range(cuts), jobs))
        return min(options, key=lambda option: ordered_makespan_ms(curve, option))
    best: Counts = Counter(best_uniform(curve, jobs))
    best_ms = counted_makespan_ms(curve, best)
    if jobs >= 2:
        kept = _nearest_to_hull(curve)
        for option in _head_tail_and_middle([curve[cut] for cut in kept], jobs):
            counts = {kept[cut]: count for cut, count in option}
            total_ms = counted_makespan_ms(curve, counts)
            if total_ms < best_ms - 1e-12:
                best, best_ms = counts, total_ms
    return sorted(Counter(_improved(curve, best, best_ms)).elements())


def _improved(curve: Sequence[JobTimes], counts: Counts, total_ms: float) -> Counts:
    """Give single jobs another cut as long as that helps and not too many jobs have been put in order."""
    left, jobs = MAX_ORDERED_JOBS, sum(counts.values())
    while left > 0:
        found: Counts | None = None
        for old, new in product(sorted(counts), range(len(curve))):
            option = {**counts, old: counts[old] - 1}
            option[new] = option.get(new, 0) + 1
            option_ms = counted_makespan_ms(curve, option)
            left -= jobs
            if option_ms < total_ms - 1e-9 * total_ms:
                found, total_ms = option, option_ms
        if found is None:
            break
        counts = {cut: count for cut, count in found.items() if count}
    return counts


def ordered_makespan_ms(curve: Sequence[JobTimes], cuts: Sequence[int]) -> float:
    """Return the makespan of jobs with these cuts in Johnson's order."""
    return counted_makespan_ms(curve, Counter(cuts))


def counted_makespan_ms(curve: Sequence[JobTimes], counts: Counts) -> float:
    """Return the makespan in Johnson's order of so many jobs per cut; O(k log k) for k cuts."""
    order = sorted((cut for cut, count in counts.items() if count), key=lambda cut: johnson_key(curve[cut]))
    return groups_makespan_ms((curve[cut], counts[cut]) for cut in order)


def lower_bound_ms(curve: Sequence[JobTimes], jobs: int) -> float:
    """Return a bound that no choice of cuts and no order can beat.

    For every weight w: w (all f, then the last g) + (1 - w) (the first f, then all g), minimised job by job; the best
    w is one where the lower envelope of w f + (1 - w) g changes cut.
    """
    f, g = np.array(curve).T
    run, rise = f - f[:, None], g[:, None] - g
    turns = (run > 0) & (rise > 0)
    return _bound_ms(f, g, np.array([0.0, 1.0, *np.unique(rise[turns] / (run[turns] + rise[turns]))]), jobs)


def coarse_bound_ms(f: Array, g: Array, jobs: int) -> float:
    """Return a bound like `lower_bound_ms`, a little lower and much sooner: it tries 17 weights; f and g are [cuts]."""
    return _bound_ms(f, g, np.linspace(0.0, 1.0, 17), jobs)


def _bound_ms(f: Array, g: Array, weights: Array, jobs: int) -> float:
    if jobs == 1:
        return float((f + g).min())
    weight = weights[:, None]
    middle = (weight * f + (1 - weight) * g).min(axis=1)
    head = (f + (1 - weight) * g).min(axis=1)
    tail = (weight * f + g).min(axis=1)
    return float(((jobs - 2) * middle + head + tail).max())


def _nearest_to_hull(curve: Sequence[JobTimes]) -> list[int]:
    """Return at most WIDEST cuts, ascending: those that the weighted sum of f and g leaves nearest to its least."""
    if len(curve) <= WIDEST:
        return list(range(len(curve)))
    f, g = np.array(curve).T
    f, g = f / (f.max() or 1.0), g / (g.max() or 1.0)
    weight = np.linspace(0, 1, 33)[:, None]
    sums = weight * f + (1 - weight) * g
    excess = (sums - sums.min(axis=1, keepdims=True)).min(axis=0)
    return sorted(np.argsort(excess, kind="stable")[:WIDEST].tolist())


def _head_tail_and_middle(curve: Sequence[JobTimes], jobs: int) -> list[tuple[tuple[int, int], ...]]:
    """Return jobs per cut of the BEST_ENDS best by f(first) + max(f of the others, g of all but the last) + g(last).

    Any first, last and two middle cuts, these in the proportions around the balance of f and g.
    """
    f, g = np.array(curve).T
    middle, size = jobs - 2, len(curve)
    first, last, low, high = (index.ravel() for index in np.indices((size, size, size, size)))
    ordered = low <= high
    first, last, low, high = first[ordered], last[ordered], low[ordered], high[ordered]
    gap = f - g
    slope = gap[high] - gap[low]
    with np.errstate(divide="ignore", invalid="ignore"):
        balance = -(f[last] - g[first] + middle * gap[low]) / slope
    balance = np.where(slope > 0, balance, 0.0)
    options = []
    for share in (np.floor(balance), np.ceil(balance)):
        shares = np.clip(share, 0, middle)
        computing = f[last] + (middle - shares) * f[low] + shares * f[high]
        sending = g[first] + (middle - shares) * g[low] + shares * g[high]
        total_ms = f[first] + np.maximum(computing, sending) + g[last]
        for place in np.argsort(total_ms, kind="stable")[:BEST_ENDS].tolist():
            count = int(shares[place])
            counts = Counter([int(first[place]), int(last[place])])
            counts[int(low[place])] += middle - count
            counts[int(high[place])] += count
            options.append(tuple(sorted((+counts).items())))
    return list(dict.fromkeys(options))
