"""Lower bounds of makespan, total delay and throughput, over all routes and orders of the jobs."""

from collections.abc import Sequence

import numpy as np

from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.scheduling.column_generation import RouteMix
from planning.search.arrays import Array
from planning.search.chain_path import cost_to_go, follow_path
from planning.search.cost_tables import Tables, latency_measure, with_source
from shared.policy import Objective

# Times in ms, by device and kind of work.
Times = dict[tuple[str, Work], float]


def burst_bound(problem: Problem, tables: Sequence[Tables], mix: RouteMix) -> float | None:
    """Return a lower bound of the objective over all plans; None for objectives without one.

    The bound is in ms per job for throughput, in ms for makespan and total delay. Throughput takes that of the mix. The
    other two follow from a bound of the time at which the k-th job ends.

    Lemma. Let the first k jobs that end have ended at t(k). Then, for all multipliers w(r) >= 0 that add up to 1,

        t(k) >= sum of the k smallest V(j) + sum over r of w(r) min(before(r) + after(r), L(k)), where

    - r: a resource, which is the computing or the sending of a device
    - V(j): the least weighted busy time of a route of job j, sum over r of w(r) x (ms that r works for the route)
    - before(r): how long r is idle before a first job can have reached it
    - after(r): how long it is idle after the last of the k jobs has left it, because that job still has to end
    - L(k): the k-th smallest of the jobs' least latencies

    Proof. A resource that works c(r) ms for the k jobs is idle before and after, so that t(k) is at least
    c(r) + before(r) + after(r). One that does not work for them has c(r) = 0 and is idle until t(k), which is at least
    L(k). Either way t(k) >= c(r) + min(before(r) + after(r), L(k)). The weighted sum of these inequalities is the
    lemma: the weighted busy time of a job is at least its V, and k of the V add up to at least the k smallest.

    Every set of multipliers that the mix was priced with gives a bound; the largest holds.

    Args:
        problem: the problem.
        tables: the arrays of every stream.
        mix: the best fractional mix of their routes.
    """
    objective = problem.policy.objective
    if objective is Objective.THROUGHPUT:
        return mix.bound_ms / sum(stream.jobs for stream in problem.streams)
    if objective not in (Objective.MAKESPAN, Objective.TOTAL_DELAY):
        return None
    latencies_ms, idle = _latencies_and_idle_ms(tables)
    if latencies_ms is None:
        return None
    jobs = [entry.stream.jobs for entry in tables]
    # [K] L(k) of the lemma, for all K jobs; t(k) is at least that, too.
    latency_ms = np.sort(np.repeat(latencies_ms, jobs))
    ends_ms = latency_ms
    # [K, R] min(before(r) + after(r), L(k))
    idle_ms = np.minimum(np.array(list(idle.values())), latency_ms[:, None])
    for weights, values in mix.priced:
        cheapest_ms = np.sort(np.repeat(values, jobs))
        weighted_idle_ms = idle_ms @ np.array([weights.get(resource, 0.0) for resource in idle])
        ends_ms = np.maximum(ends_ms, np.cumsum(cheapest_ms) + weighted_idle_ms)
    # A makespan is t of the last job; a total delay is the sum of all t.
    return float(ends_ms[-1] if objective is Objective.MAKESPAN else ends_ms.sum())


def _latencies_and_idle_ms(tables: Sequence[Tables]) -> tuple[list[float] | None, Times]:
    """Return the least latency of every stream, None if one has no route; and before(r) + after(r) of every resource.

    Streams that differ in their source only share one dynamic programme.
    """
    groups: dict[tuple[str, tuple[str, ...], int | None], list[int]] = {}
    for index, entry in enumerate(tables):
        groups.setdefault((entry.stream.model, entry.nodes, entry.sink), []).append(index)
    latencies_ms = [0.0] * len(tables)
    before: Times = {}
    after: Times = {}
    for members in groups.values():
        entries = [tables[index] for index in members]
        latency = latency_measure(entries[0])
        togo = cost_to_go(latency)
        firsts = [with_source(latency, entry).first for entry in entries]
        for index, first in zip(members, firsts, strict=True):
            fastest = follow_path(latency, togo, first)
            if fastest is None:
                return None, {}
            latencies_ms[index] = fastest.cost
        # The bound of all streams is the minimum over the groups: a resource is idle only while all groups leave it
        # idle.
        for known, own in zip((before, after), idle_ms(entries, firsts, togo), strict=True):
            known |= {resource: min(time_ms, known.get(resource, np.inf)) for resource, time_ms in own.items()}
    return latencies_ms, {resource: before[resource] + after[resource] for resource in before}


def idle_ms(tables: Sequence[Tables], firsts: Sequence[Array], togo: Array) -> tuple[Times, Times]:
    """Return how long every resource is idle for sure, before its first job reaches it and after its last leaves it.

    Args:
        tables: the arrays of streams that differ in their source at most.
        firsts: per stream, [D] latency of the input's way to every node.
        togo: [B + 1, D] latency to go, in ms.
    """
    nodes = tables[0].nodes
    computing_before, sending_before = _before_ms(tables, firsts)
    computing_after, sending_after = _after_ms(tables, togo)
    return _by_resource(nodes, computing_before, sending_before), _by_resource(nodes, computing_after, sending_after)


def _by_resource(nodes: Sequence[str], computing: Array, sending: Array) -> Times:
    times = {(name, Work.COMPUTE): time_ms for name, time_ms in zip(nodes, computing.tolist(), strict=True)}
    return times | {(name, Work.SEND): time_ms for name, time_ms in zip(nodes, sending.tolist(), strict=True)}


def _before_ms(alike: Sequence[Tables], firsts: Sequence[Array]) -> tuple[Array, Array]:
    """Return the earliest time in ms at which every node can begin to compute, and to send, [D] each.

    The pass goes forward over the cuts. ``arrives`` is when the input of a block can be at a node, and ``done`` when
    the block before the cut can be done there. Decoding is left out, which only makes times earlier.

    Args:
        alike: the arrays of streams that differ in their source at most.
        firsts: per stream, [D] latency of the input's way to every node.
    """
    tables = alike[0]
    blocks, nodes = tables.blocks, len(tables.nodes)
    arrives: Array = np.minimum.reduce(firsts)
    computes, sends = arrives.copy(), np.full(nodes, np.inf)
    for entry in alike:
        # A source sends its input at time 0, if the first block may run elsewhere.
        if entry.allowed_first[np.arange(nodes) != entry.source].any():
            sends[entry.source] = 0.0
    done = np.asarray(arrives + tables.start_ms + tables.run_ms[:, 0])
    for cut in range(1, blocks + 1):
        sends = np.minimum(sends, done)
        encoded = tables.encode_ms[cut][:, None] * tables.codec_factor
        arrives = (done[None, :, None] + encoded[:, :, None] + tables.transfer_ms[cut]).min(axis=(0, 1))
        if cut == blocks:
            if tables.sink is not None:
                computes[tables.sink] = min(computes[tables.sink], arrives[tables.sink])
            break
        computes = np.minimum(computes, arrives)
        done = np.minimum(done, arrives + tables.start_ms) + tables.run_ms[:, cut]
    return computes, sends


def _after_ms(alike: Sequence[Tables], togo: Array) -> tuple[Array, Array]:
    """Return the least time in ms from the end of a node's last computing, and last sending, to the result, [D] each.

    The minimum is over the cuts that can follow that work. ``rest`` is the least time from the start of the block after
    the cut. Encoding and decoding are left out, which only makes times shorter.

    Args:
        alike: the arrays of streams that differ in their source at most.
        togo: [B + 1, D] latency to go, in ms.
    """
    tables = alike[0]
    blocks, nodes = tables.blocks, len(tables.nodes)
    computed, sent = np.full(nodes, np.inf), np.full(nodes, np.inf)
    if tables.sink is None:
        computed[:] = 0.0
    else:
        transfer = tables.transfer_ms[blocks, :, :, tables.sink].min(axis=0)
        computed = np.where(np.arange(nodes) == tables.sink, 0.0, transfer)
        sent = np.where(np.isfinite(transfer), 0.0, np.inf)
    for cut in range(blocks):
        rest = tables.start_ms + tables.run_ms[:, cut] + togo[cut + 1]
        transfer = tables.transfer_ms[cut].min(axis=0)
        linked = np.where(np.isfinite(transfer), 0.0, np.inf)
        if cut == 0:
            rows = np.isin(np.arange(nodes), [entry.source for entry in alike])
            sent[rows] = np.minimum(sent[rows], (linked[rows] + rest).min(axis=1))
        else:
            # After its last computing a node only sends: the next block runs elsewhere.
            computed = np.minimum(computed, (transfer + rest).min(axis=1))
            sent = np.minimum(sent, (linked + rest).min(axis=1))
    return computed, sent
