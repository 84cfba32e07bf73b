"""Bursts of identical jobs at one source: how many jobs take which cut, and lower bounds of the makespan.

Throughout, ``curve`` holds (f, g) per cut, in ms: computing before it and sending across it. A monotone chain has f
ascending and g descending. The source computes one job at a time and sends one at a time: a two-machine flow shop.

Proposition 1 (Duan & Wu, section 3) is about jobs of one monotone chain in Johnson's order. Their makespan is f(first)
+ max(f of all but the first, g of all but the last) + g(last). The formula fails for mixes of chains: the jobs (1, 2),
(10, 20), (11, 1) have makespan 32, but the formula gives 24. So every mix is put in order before it is compared.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, product
from math import comb, floor, inf

import numpy as np

from planning.scheduling.flow_shop import JobTimes, groups_makespan_ms, johnson_key
from planning.search.arrays import Array

# The number of jobs per cut.
Counts = Mapping[int, int]

# Largest number of mixes of cuts for which all are compared.
MAX_EXHAUSTIVE_MIXES = 300

# Cuts that the search over four of them looks at, at most: 14^4 combinations are 38,416.
MAX_HULL_CUTS = 14

# Mixes, the best by proposition 1, that are put in order.
ORDERED_MIXES = 12

# Jobs that are put in order at most while single ones change their cut.
MAX_ORDERED_JOBS = 20_000

# A makespan has to be smaller by this share, or by this number of ms, to count as better.
_MIN_GAIN = 1e-9
_MIN_GAIN_MS = 1e-12

# Weights that the coarse bound tries, evenly spaced over [0, 1].
_COARSE_WEIGHTS = 17


def virtual_blocks(curve: Sequence[JobTimes]) -> list[int]:
    """Return the cuts that send less than every earlier one: "virtual blocking" (Duan & Wu, section 3.2)."""
    cuts: list[int] = []
    least = inf
    for cut, (_, sending) in enumerate(curve):
        if sending < least:
            cuts.append(cut)
            least = sending
    return cuts


def pareto_cuts(curve: Sequence[JobTimes]) -> list[int]:
    """Return the cuts that no other beats in both f and g, f ascending, also where the chain is not monotone."""
    cuts: list[int] = []
    least = inf
    for cut in sorted(range(len(curve)), key=lambda cut: curve[cut]):
        if curve[cut][1] < least:
            cuts.append(cut)
            least = curve[cut][1]
    return cuts


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

    The two are mixed in the ratio that makes all computing equal to all sending,
    (f - g)(crossing) : (g - f)(the one before). It is near-optimal only for many jobs: theorem 2 of the paper, which
    says when a single cut is optimal, is false as stated.

    Args:
        curve: (f, g) of the cuts that `virtual_blocks` leaves.
        jobs: the number of jobs.
        floor_ratio: whether the ratio is floored to an integer, as printed. It is then 0 where fewer than half of the
            jobs belong at the earlier cut. Otherwise the exact share is rounded.
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
    """Return a cut per job with the least makespan, or nearly.

    Exact with at most MAX_EXHAUSTIVE_MIXES mixes. Otherwise the first and the last job get any cut and the jobs between
    them any two cuts in the best proportion. Then single jobs change their cut as long as that helps.
    O(k^4) for k cuts, at most MAX_HULL_CUTS of them: those nearest to the lower convex hull.
    """
    cuts = len(curve)
    if comb(jobs + cuts - 1, jobs) <= MAX_EXHAUSTIVE_MIXES:
        options = (list(cut) for cut in combinations_with_replacement(range(cuts), jobs))
        return min(options, key=lambda option: ordered_makespan_ms(curve, option))
    best: Counts = Counter(best_uniform(curve, jobs))
    best_ms = counted_makespan_ms(curve, best)
    if jobs >= 2:
        useful = _nearest_to_hull(curve)
        for mix in _head_tail_and_middle([curve[cut] for cut in useful], jobs):
            counts = {useful[cut]: count for cut, count in mix.items()}
            total_ms = counted_makespan_ms(curve, counts)
            if total_ms < best_ms - _MIN_GAIN_MS:
                best, best_ms = counts, total_ms
    return sorted(Counter(_improved(curve, best, best_ms)).elements())


def _improved(curve: Sequence[JobTimes], counts: Counts, total_ms: float) -> Counts:
    """Give single jobs another cut as long as that helps, and until MAX_ORDERED_JOBS jobs have been put in order.

    Every round takes the best change of one job.
    """
    left, jobs = MAX_ORDERED_JOBS, sum(counts.values())
    while left > 0:
        best: Counts | None = None
        for old, new in product(sorted(counts), range(len(curve))):
            option = {**counts, old: counts[old] - 1}
            option[new] = option.get(new, 0) + 1
            option_ms = counted_makespan_ms(curve, option)
            left -= jobs
            if option_ms < total_ms - _MIN_GAIN * total_ms:
                best, total_ms = option, option_ms
        if best is None:
            break
        counts = {cut: count for cut, count in best.items() if count}
    return counts


def ordered_makespan_ms(curve: Sequence[JobTimes], cuts: Sequence[int]) -> float:
    """Return the makespan of jobs with these cuts in Johnson's order."""
    return counted_makespan_ms(curve, Counter(cuts))


def counted_makespan_ms(curve: Sequence[JobTimes], counts: Counts) -> float:
    """Return the makespan in Johnson's order of ``counts`` jobs per cut; O(k log k) for k cuts."""
    order = sorted((cut for cut, count in counts.items() if count), key=lambda cut: johnson_key(curve[cut]))
    return groups_makespan_ms((curve[cut], counts[cut]) for cut in order)


def lower_bound_ms(curve: Sequence[JobTimes], jobs: int) -> float:
    """Return a bound of the makespan that no choice of cuts and no order can beat; see `_bound_ms`.

    The weights are those at which the cut of the middle jobs changes: w f + (1 - w) g is the same for two cuts.
    """
    f, g = np.array(curve).T
    # Between two cuts f rises by ``run`` and g falls by ``rise``. The weighted sums are equal at w run = (1 - w) rise.
    run, rise = f - f[:, None], g[:, None] - g
    turns = (run > 0) & (rise > 0)
    return _bound_ms(f, g, np.array([0.0, 1.0, *np.unique(rise[turns] / (run[turns] + rise[turns]))]), jobs)


def coarse_bound_ms(f: Array, g: Array, jobs: int) -> float:
    """Return a bound like `lower_bound_ms` from fewer weights: lower, and faster. ``f`` and ``g`` are [cuts]."""
    return _bound_ms(f, g, np.linspace(0.0, 1.0, _COARSE_WEIGHTS), jobs)


def _bound_ms(f: Array, g: Array, weights: Array, jobs: int) -> float:
    """Return the largest bound of the makespan over ``weights``; ``f`` and ``g`` are [cuts].

    The makespan is at least the sum of f plus the last g, and at least the first f plus the sum of g. So it is at least
    w (sum of f + last g) + (1 - w) (first f + sum of g) for every w in [0, 1]. This is a sum over jobs:

        first job  f + (1 - w) g,    middle jobs  w f + (1 - w) g,    last job  w f + g.

    Each is minimised over the cuts on its own.
    """
    if jobs == 1:
        return float((f + g).min())
    weight = weights[:, None]
    middle = (weight * f + (1 - weight) * g).min(axis=1)
    head = (f + (1 - weight) * g).min(axis=1)
    tail = (weight * f + g).min(axis=1)
    return float(((jobs - 2) * middle + head + tail).max())


def _nearest_to_hull(curve: Sequence[JobTimes]) -> list[int]:
    """Return at most MAX_HULL_CUTS cuts, ascending: those nearest to the lower convex hull of (f, g).

    A cut lies on the hull if it minimises some weighted sum of f and g, each scaled to 1. Its distance is by how much
    it misses that, at its best of 33 weights.
    """
    if len(curve) <= MAX_HULL_CUTS:
        return list(range(len(curve)))
    f, g = np.array(curve).T
    f, g = f / (f.max() or 1.0), g / (g.max() or 1.0)
    weight = np.linspace(0, 1, 33)[:, None]
    sums = weight * f + (1 - weight) * g
    excess = (sums - sums.min(axis=1, keepdims=True)).min(axis=0)
    return sorted(np.argsort(excess, kind="stable")[:MAX_HULL_CUTS].tolist())


def _head_tail_and_middle(curve: Sequence[JobTimes], jobs: int) -> list[Counts]:
    """Return the best mixes of a first cut a, a last cut b, and two middle cuts u <= v, as jobs per cut.

    With s of the m = jobs - 2 middle jobs at v, proposition 1 gives the makespan

        f(a) + max(computing, sending) + g(b),
        computing = f(b) + (m - s) f(u) + s f(v)    (all but the first job),
        sending   = g(a) + (m - s) g(u) + s g(v)    (all but the last job).

    With s, computing rises and sending falls, so that the best s is next to where they are equal. Two middle cuts are
    enough. The best fractional mix minimises the maximum of two sums over one simplex, and a vertex of that linear
    programme has at most two positive shares.
    """
    f, g = np.array(curve).T
    middle, size = jobs - 2, len(curve)
    # Every (a, b, u, v), flattened: [size^4], then those with u <= v.
    first, last, low, high = (index.ravel() for index in np.indices((size, size, size, size)))
    ordered = low <= high
    first, last, low, high = first[ordered], last[ordered], low[ordered], high[ordered]
    excess = f - g
    slope = excess[high] - excess[low]
    with np.errstate(divide="ignore", invalid="ignore"):
        balance = -(f[last] - g[first] + middle * excess[low]) / slope
    # Equal middle cuts have no balance: every s is the same mix.
    balance = np.where(slope > 0, balance, 0.0)
    mixes: list[Counts] = []
    for rounded in (np.floor(balance), np.ceil(balance)):
        at_high = np.clip(rounded, 0, middle)
        computing = f[last] + (middle - at_high) * f[low] + at_high * f[high]
        sending = g[first] + (middle - at_high) * g[low] + at_high * g[high]
        total_ms = f[first] + np.maximum(computing, sending) + g[last]
        for place in np.argsort(total_ms, kind="stable")[:ORDERED_MIXES].tolist():
            count = int(at_high[place])
            counts = Counter([int(first[place]), int(last[place])])
            counts[int(low[place])] += middle - count
            counts[int(high[place])] += count
            mixes.append(dict(sorted((+counts).items())))
    return mixes
