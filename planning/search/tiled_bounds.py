"""Lower bounds of the cost of all plans, those with stages split into tiles included."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planning.problem.problem import Device, Model, Problem, RowTable, Stream, link_table
from planning.search.arrays import Array
from planning.search.reach_bounds import least_level, reach_bound
from planning.tiles.rows import segment_fault, tile_rows
from shared.policy import Objective


def may_split(problem: Problem) -> bool:
    """Return whether a stage of some stream could be computed in tiles by several devices.

    No strategy considers such plans, so that its own proofs do not cover them.
    """
    if problem.policy.max_devices == 1:
        return False
    for name in {stream.model for stream in problem.streams}:
        rows = (block.rows for block in problem.models[name].blocks)
        if not any(profile is not None and profile.output_rows > 1 for profile in rows):
            continue
        able = {each for each in problem.devices if problem.devices[each].runs_tiles(name)}
        able = {each for each in able if problem.policy.devices.permits(each)}
        # Rows reach a second device over a link from the source or from another device that computes.
        ends = {stream.source for stream in problem.streams if stream.model == name} | able
        if len(able) > 1 and any({near, far} <= ends for near, far in link_table(problem.links)):
            return True
    return False


def sends_overlap(problem: Problem) -> bool:
    """Return whether some device sends over several links at once, so that its sendings do not add up."""
    return any(device.separate_links for device in problem.devices.values())


def tiled_bound(problem: Problem) -> float | None:
    """Return a lower bound of the objective over all plans, with tiles or without; None if there is none.

    Transfers and starts of segments are left out. What remains is work: of each block, some share y(d) on every device
    d, with shares that add up to at least 1, because tiles overlap. A share of y takes at least y x t(d), where t(d) is
    the block's time on d, reduced where a table of row times favours few rows. For multipliers w(d) >= 0 that add up to
    1, a time that no device exceeds is at least sum over d of w(d) x (work of d), and so at least the sum over blocks
    of min over d of w(d) t(d).

    - latency: a block without row data runs whole, after all that it needs and before all that needs it. So the bounds
      of the runs of blocks between such blocks, and their own least times, add up. `reach_bound` adds the times in
      which devices are reached.
    - throughput: the bound of all jobs, per job. A single job starts a segment on every device that it uses.
    - makespan: the bound of all jobs, and the largest latency bound.
    - total delay: the k-th end is at least the bound of the k jobs with the least work, and the k-th latency bound.
    - energy: the least energy of computing every block, and of starting one segment.
    - deadline: all blocks of streams whose source cannot compute.
    """
    objective, jobs = problem.policy.objective, sum(stream.jobs for stream in problem.streams)
    works = {name: _Work.of(problem, name) for name in {stream.model for stream in problem.streams}}
    if any(not work.devices for work in works.values()):
        return None
    match objective:
        case Objective.LATENCY:
            return (
                sum(stream.jobs * _latency_ms(problem, stream, works[stream.model]) for stream in problem.streams)
                / jobs
            )
        case Objective.ENERGY:
            least = {name: work.energy_j(problem) for name, work in works.items()}
            return sum(stream.jobs * least[stream.model] for stream in problem.streams) / jobs
        case Objective.DEADLINE:
            away = [each for each in problem.streams if each.source not in works[each.model].devices]
            return sum(each.jobs * len(problem.models[each.model].blocks) for each in away) / jobs
        case Objective.DELAY_VARIANCE:
            return 0.0
    ends_ms = _ends_ms(problem, works)
    match objective:
        case Objective.THROUGHPUT:
            alone_ms = next(iter(works.values())).alone_ms(problem) if jobs == 1 else 0.0
            return max(alone_ms, float(max(values.sum() for values in _shared_values(problem, works))) / jobs)
        case Objective.MAKESPAN:
            return float(ends_ms[-1])
        case _:
            return float(ends_ms.sum())


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """The least times of a model's blocks.

    Attributes:
        devices: [D] the devices that may compute.
        share_ms: [D, B] time of a block under load, per whole block, at the rate of its cheapest share of rows.
        needed: [B] the share of a block's rows that the next block without row data depends on.
        whole: [B] whether a block runs whole.
        latency_ms: lower bound of the latency of a request.
    """

    devices: tuple[str, ...]
    share_ms: Array
    needed: Array
    whole: tuple[bool, ...]

    @classmethod
    def of(cls, problem: Problem, name: str) -> "_Work":
        model, permits = problem.models[name], problem.policy.devices.permits
        devices = tuple(each for each, device in problem.devices.items() if name in device.block_ms and permits(each))
        share_ms = [_share_ms(model, problem.devices[each], name) for each in devices]
        whole = tuple(block.rows is None for block in model.blocks)
        return cls(devices, np.array(share_ms), _needed(model, whole), whole)

    @property
    def latency_ms(self) -> float:
        """Lower bound of the latency of a request."""
        everything = max(map(float, (values.sum() for values in _weighted([self.share_ms]))))
        in_turn = 0.0
        for start, stop in _runs(self.whole):
            times_ms = self.share_ms[:, start:stop]
            if self.whole[start]:
                in_turn += float(times_ms.min())
            else:
                in_turn += max(float(values.sum()) for values in _weighted([times_ms * self.needed[start:stop]]))
        return max(everything, in_turn)

    def energy_j(self, problem: Problem) -> float:
        """Return the least energy of computing all blocks once, in joules; less than 0 W counts as none."""
        profiles = [problem.devices[name] for name in self.devices]
        power_w = np.array([max(0.0, each.power_active_w - each.power_idle_w) for each in profiles])
        if any(each.power_active_w < each.power_idle_w for each in profiles):
            return float("-inf")
        start_mj = (power_w * self._start_ms(problem)).min()
        return float((self.share_ms * power_w[:, None]).min(axis=0).sum() + start_mj) / 1000

    def alone_ms(self, problem: Problem) -> float:
        """Return a lower bound of the busiest device's time for one request."""
        totals_ms = np.maximum(self.share_ms.sum(axis=1), 1e-300)
        bounds = []
        for weights in (1 / totals_ms, np.ones(len(totals_ms))):
            work = float((self.share_ms * weights[:, None]).min(axis=0).sum())
            bounds.append(least_level(self._start_ms(problem), weights, work))
        return max(bounds)

    def _start_ms(self, problem: Problem) -> Array:
        profiles = [problem.devices[name] for name in self.devices]
        return np.array([each.slowdown * each.segment_overhead_ms for each in profiles])


def _latency_ms(problem: Problem, stream: Stream, work: _Work) -> float:
    runs = _runs(work.whole)
    return max(work.latency_ms, reach_bound(problem, stream, work.devices, work.share_ms, work.needed, runs))


def _share_ms(model: Model, device: Device, name: str) -> list[float]:
    tables: Sequence[RowTable | None] = device.row_ms.get(name, (None,) * len(model.blocks))
    times_ms = []
    for block, whole_ms, table in zip(model.blocks, device.block_ms[name], tables, strict=True):
        # Between its points a table is linear from (0, 0) on, so the least time per row is that of a point.
        of = block.rows.output_rows if block.rows else 1
        per_row_ms = [time_ms / rows for rows, time_ms in table or () if block.rows and 0 < rows < of]
        times_ms.append(device.slowdown * min([whole_ms, *(each * of for each in per_row_ms)]))
    return times_ms


def _needed(model: Model, whole: Sequence[bool]) -> Array:
    """Return the share of every block's rows that the end of its run depends on, [B]; 0 where that is not known."""
    shares = np.ones(len(whole))
    for start, stop in _runs(whole):
        rows = model.blocks[stop - 1].rows
        if rows is None:
            continue
        if segment_fault(model, start, stop) is not None:
            shares[start:stop] = 0.0
            continue
        computed = tile_rows(model, start, stop, (0, rows.output_rows)).computed
        for index, (top, bottom) in enumerate(computed, start):
            own = model.blocks[index].rows
            shares[index] = (bottom - top) / own.output_rows if own else 1.0
    return shares


def _runs(whole: Sequence[bool]) -> list[tuple[int, int]]:
    """Return ``(start, stop)`` of every block that runs whole, and of every longest run of others."""
    bounds = [at for at in range(len(whole) + 1) if at in (0, len(whole)) or whole[at] or whole[at - 1]]
    return list(itertools.pairwise(bounds))


def _weighted(times_ms: Sequence[Array]) -> list[Array]:
    """Return, for some multipliers, the least weighted work of each of ``times_ms``, [D, B] over the same devices.

    The multipliers are proportional to the devices' speeds, or all equal.
    """
    totals_ms = sum(each.sum(axis=1) for each in times_ms)
    speeds = 1 / np.maximum(totals_ms, 1e-300)
    candidates = [speeds / speeds.sum(), np.full(len(speeds), 1 / len(speeds))]
    return [np.array([(each * weights[:, None]).min(axis=0).sum() for each in times_ms]) for weights in candidates]


def _shared_values(problem: Problem, works: dict[str, _Work]) -> list[Array]:
    """Return, for some multipliers, the least weighted work of every job, [jobs] in ms."""
    names = list(works)
    devices = sorted({each for work in works.values() for each in work.devices})
    jobs = {name: sum(each.jobs for each in problem.streams if each.model == name) for name in names}
    # A device that cannot run a model has no share of it, and counts with the slowest one's time towards its speed.
    usual: list[Array] = []
    for name in names:
        work = works[name]
        rows = {each: work.share_ms[place] for place, each in enumerate(work.devices)}
        slowest = work.share_ms[int(work.share_ms.sum(axis=1).argmax())]
        usual.append(np.array([rows.get(each, slowest) for each in devices]) * jobs[name])
    speeds = 1 / np.maximum(sum(each.sum(axis=1) for each in usual), 1e-300)
    result = []
    for weights in (speeds / speeds.sum(), np.full(len(devices), 1 / len(devices))):
        values = []
        for name in names:
            own = weights[[devices.index(each) for each in works[name].devices]]
            values += [(works[name].share_ms * own[:, None]).min(axis=0).sum()] * jobs[name]
        result.append(np.sort(np.array(values)))
    return result


def _ends_ms(problem: Problem, works: dict[str, _Work]) -> Array:
    """Return a lower bound of the time at which the k-th job ends, [jobs] in ms."""
    latencies = [_latency_ms(problem, each, works[each.model]) for each in problem.streams]
    ends_ms = np.sort(np.repeat(latencies, [each.jobs for each in problem.streams]))
    for values in _shared_values(problem, works):
        ends_ms = np.maximum(ends_ms, values.cumsum())
    return ends_ms
