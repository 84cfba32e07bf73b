"""What no plan can beat when several jobs share devices and links, whatever its routes and its order."""

from collections.abc import Sequence

import numpy as np

from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.scheduling.column_generation import RouteMix
from planning.search.arrays import Array
from planning.search.chain_path import cost_to_go, follow_path
from planning.search.cost_tables import Tables, latency_measure, with_source
from shared.policy import Objective

Times = dict[tuple[str, Work], float]


def burst_bound(problem: Problem, tables: Sequence[Tables], mix: RouteMix) -> float | None:
    """Return what no plan can beat in throughput (ms per job), makespan or total delay (ms); None for other objectives.

    Take the first k jobs that end, the last of them at t, and multipliers of the resources that add up to 1. A resource
    that they use works for them within t, and not before a job can have reached it (`idle_ms`), nor after the last one
    leaves it, for all that is left. So t is at least the k cheapest weighted routes plus the weighted idle times, where
    an unused resource is idle for t, which is at least the k-th smallest latency. Every multiplier that the mix was
    priced with gives a bound; the largest holds.
    """
    objective = problem.policy.objective
    if objective is Objective.THROUGHPUT:
        return mix.bound_ms / sum(stream.jobs for stream in problem.streams)
    if objective not in (Objective.MAKESPAN, Objective.TOTAL_DELAY):
        return None
    latencies: list[float] = []
    jobs: list[int] = []
    before: Times = {}
    after: Times = {}
    groups: dict[tuple[str, tuple[str, ...], int | None], list[Tables]] = {}
    for entry in tables:
        groups.setdefault((entry.stream.model, entry.nodes, entry.sink), []).append(entry)
    for entries in groups.values():
        latency = latency_measure(entries[0])
        togo = cost_to_go(latency)
        firsts = [with_source(latency, entry).first for entry in entries]
        for entry, first in zip(entries, firsts, strict=True):
            fastest = follow_path(latency, togo, first)
            if fastest is None:
                return None
            latencies.append(fastest.cost)
            jobs.append(entry.stream.jobs)
        for known, own in zip((before, after), idle_ms(entries, firsts, togo), strict=True):
            known |= {resource: min(time_ms, known.get(resource, np.inf)) for resource, time_ms in own.items()}
    least = np.sort(np.repeat(latencies, jobs))
    ends = least
    idle = np.array([before[resource] + after[resource] for resource in before])
    unused = np.minimum(idle, least[:, None])
    for weights, values in mix.priced:
        routes = np.sort(np.repeat(values, [entry.stream.jobs for entry in tables]))
        spare = unused @ np.array([weights.get(resource, 0.0) for resource in before])
        ends = np.maximum(ends, np.cumsum(routes) + spare)
    return float(ends[-1] if objective is Objective.MAKESPAN else ends.sum())


def idle_ms(tables: Sequence[Tables], firsts: Sequence[Array], togo: Array) -> tuple[Times, Times]:
    """Return how long every resource is idle for sure, before its first job reaches it and after its last leaves it.

    Args:
        tables: the arrays of streams that differ in their source at most.
        firsts: per stream, [D] latency of the input's way to every node.
        togo: [B + 1, D] latency to go.
    """
    found: list[Times] = []
    for computing, sending in (_before_ms(tables, firsts), _after_ms(tables, togo)):
        times = {
            (name, Work.COMPUTE): time_ms for name, time_ms in zip(tables[0].nodes, computing.tolist(), strict=True)
        }
        times |= {(name, Work.SEND): time_ms for name, time_ms in zip(tables[0].nodes, sending.tolist(), strict=True)}
        found.append(times)
    return found[0], found[1]


def _before_ms(alike: Sequence[Tables], firsts: Sequence[Array]) -> tuple[Array, Array]:
    """Return the earliest time at which every node can begin to compute, and to send, [D] each."""
    tables = alike[0]
    blocks, nodes = tables.blocks, len(tables.nodes)
    arrives: Array = np.minimum.reduce(firsts)
    computes, sends = arrives.copy(), np.full(nodes, np.inf)
    for entry in alike:
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
    """Return the least time from the end of every node's last computing, and last sending, to the result, [D] each."""
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
            computed = np.minimum(computed, (transfer + rest).min(axis=1))
            sent = np.minimum(sent, (linked + rest).min(axis=1))
    return computed, sent
