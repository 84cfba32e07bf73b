"""The one cost prediction that every strategy, test and outside checker relies on (design, section 5)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from planning.cost.operations import Operation, Work, completion_times_ms, ends_ms, identical_makespan_ms
from planning.problem.crossings import Encoding, allowed_encodings, encodings
from planning.problem.plan import RAW, CostPrediction, Route, Stage, StreamPlan
from planning.problem.problem import Link, Problem, Stream, link_table
from planning.simulation.event_loop import Rules, SimulatedJob, run
from planning.simulation.feed_forward import feed_forward_ms
from planning.tiles.rows import RowRange, share_ms
from planning.tiles.tiled_operations import tiled_operations
from shared.link_time import transfer_ms
from shared.policy import Objective, QueueDiscipline

LONG_BURST = 500
"""From so many jobs on, queues that feed each other in one direction may be computed in arrays."""


JOBS_PER_ROUTE = 20
"""How many jobs per route arrays take at least."""


class NoLinkError(LookupError):
    """A route sends over a link that does not exist."""


@dataclass(frozen=True, slots=True)
class RouteCost:
    """What one request costs: see `CostModel.latency_ms`, ``energy_j``, ``source_share`` and ``busy_ms``."""

    latency_ms: float
    energy_j: float
    source_share: float
    busy_ms: Mapping[tuple[str, Work], float]


class CostModel:
    """Predicts what routes of a problem cost. Holds look-up tables only; never changes."""

    def __init__(self, problem: Problem) -> None:
        """Index the links of ``problem``."""
        self.problem = problem
        self._links = link_table(problem.links)
        self._streams = {stream.name: stream for stream in reversed(problem.streams)}

    def stream(self, name: str) -> Stream:
        """Return the stream called ``name``; see `Problem.stream`."""
        return self._streams[name]

    def allowed(self, model: str, cut: int) -> tuple[Encoding, ...]:
        """Return the encodings that the policy allows at a cut of ``model``."""
        return allowed_encodings(self.problem.models[model], cut, self.problem.policy)

    def linked(self, sender: str, receiver: str) -> bool:
        """Say whether ``sender`` can send to ``receiver``."""
        return sender == receiver or (sender, receiver) in self._links

    def compute_ms(self, device: str, model: str, start: int, stop: int) -> float:
        """Return load factor x (sum of the blocks' times + segment overhead) of blocks ``[start, stop)``, in ms.

        Raises:
            KeyError: if the device cannot run the model.
        """
        profile = self.problem.devices[device]
        return profile.load_factor * (sum(profile.block_ms[model][start:stop]) + profile.segment_overhead_ms)

    def tile_ms(self, device: str, model: str, start: int, computed: Sequence[RowRange]) -> float:
        """Return what a tile costs that computes these rows of the blocks from ``start`` on, halo included, in ms.

        Load factor x (sum of the blocks' shares + segment overhead); a share is linear in the rows, or tabulated.

        Raises:
            KeyError: if the device cannot run the model.
        """
        profile = self.problem.devices[device]
        blocks, times = self.problem.models[model].blocks, profile.block_ms[model]
        tables = profile.row_ms.get(model, (None,) * len(blocks))
        total_ms = profile.segment_overhead_ms
        for index, (top, bottom) in enumerate(computed, start):
            rows = blocks[index].rows
            total_ms += share_ms(times[index], tables[index], bottom - top, rows.output_rows if rows else 0)
        return profile.load_factor * total_ms

    def transfer_ms(self, sender: str, receiver: str, size_bytes: float) -> float:
        """Return latency + 8 n / (1000 x bandwidth), in ms; 0 on the same device.

        Raises:
            NoLinkError: if there is no link.
        """
        if sender == receiver:
            return 0.0
        link = self._link(sender, receiver)
        return transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)

    def encoding(self, model: str, cut: int, codec: str) -> Encoding:
        """Return the encoding called ``codec`` of what crosses ``cut``.

        Raises:
            KeyError: if it is not offered there.
        """
        profile = self.problem.models[model]
        if codec == RAW and cut and profile.edges is None:
            return Encoding(RAW, profile.blocks[cut - 1].output_bytes)
        for encoding in encodings(profile, cut):
            if encoding.codec == codec:
                return encoding
        raise KeyError(f"model {model} has no encoding {codec} at cut {cut}")

    def codec_ms(self, device: str, work_ms: float) -> float:
        """Return the time that encoding or decoding takes on ``device``: load factor x time / codec speed, in ms."""
        profile = self.problem.devices[device]
        return profile.load_factor * work_ms / profile.codec_speed

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        """Return what a request does on ``route``, in order: sendings and computings.

        On a route without tiles each waits for the one before it. Otherwise they name what they need: a tile waits
        for the rows that it needs, a sending for its own rows, and each device sends the rows that others need, in the
        order of its receivers among the next stage's tiles. Encoding, decoding and raw bytes are shared out by rows.

        Raises:
            NoLinkError: if two neighbouring devices are not linked.
            KeyError: if a device cannot run the model, or an encoding is not offered.
            UntileableError: if a stage with several tiles lacks row data.
        """
        if route.tiled:
            return tiled_operations(self, stream, route)
        found: list[Operation] = []
        model = self.problem.models[stream.model]
        here, decode_ms = stream.source, 0.0
        first = route.stages[0].device
        if first != here:
            found.append(self.send(here, first, model.input_bytes, -1))
        for index, stage in enumerate(route.stages):
            here = stage.device
            receiver = route.stages[index + 1].device if index + 1 < len(route.stages) else stream.sink
            sends = receiver is not None and receiver != here
            encoding = self.encoding(stream.model, stage.stop, stage.codec if sends else RAW)
            duration_ms = self.compute_ms(here, stream.model, stage.start, stage.stop) + self.codec_ms(here, decode_ms)
            duration_ms += self.codec_ms(here, encoding.encode_ms)
            found.append(Operation(Work.COMPUTE, here, duration_ms, index))
            decode_ms = encoding.decode_ms
            if receiver is not None and sends:
                found.append(self.send(here, receiver, encoding.size_bytes, index))
        if decode_ms and stream.sink is not None:
            decoding_ms = self.codec_ms(stream.sink, decode_ms)
            found.append(Operation(Work.COMPUTE, stream.sink, decoding_ms, len(route.stages)))
        return tuple(found)

    def latency_ms(self, stream: Stream, route: Route) -> float:
        """Return the latency of one request that is alone, in ms; with tiles every queue is first come first served."""
        operations = self.operations(stream, route)
        if route.tiled:
            return completion_times_ms([operations])[0]
        return sum(operation.duration_ms for operation in operations)

    def busy_ms(self, stream: Stream, route: Route) -> dict[tuple[str, Work], float]:
        """Return the busy time per request of every device's computing and every device's sending, in ms."""
        busy: defaultdict[tuple[str, Work], float] = defaultdict(float)
        for operation in self.operations(stream, route):
            busy[operation.resource] += operation.duration_ms
        return dict(busy)

    def energy_j(self, stream: Stream, route: Route) -> float:
        """Return the energy of one request above idling, in joules."""
        energy_mj = 0.0
        for operation in self.operations(stream, route):
            device = self.problem.devices[operation.device]
            if operation.target is None:
                energy_mj += (device.power_active_w - device.power_idle_w) * operation.duration_ms
            else:
                receiver = self.problem.devices[operation.target]
                energy_mj += (device.power_tx_w + receiver.power_rx_w) * operation.duration_ms
        return energy_mj / 1000

    def route_cost(self, stream: Stream, route: Route) -> RouteCost:
        """Return what one request costs on ``route``."""
        return RouteCost(
            self.latency_ms(stream, route),
            self.energy_j(stream, route),
            self.source_share(stream, route),
            self.busy_ms(stream, route),
        )

    def predict_stream(self, stream: Stream, plan: StreamPlan) -> CostPrediction:
        """Return what the routes of one stream cost when no other stream runs."""
        return self.predict({stream.name: plan})

    def predict(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> CostPrediction:
        """Return what a whole plan costs: means over all requests, throughput and makespan of all together."""
        return self.predict_means(plans, self.makespan_ms(plans, disciplines, turns))

    def predict_means(self, plans: Mapping[str, StreamPlan], makespan_ms: float) -> CostPrediction:
        """Return what a whole plan costs whose makespan is known."""
        busy: defaultdict[tuple[str, Work], float] = defaultdict(float)
        latency_ms = energy_j = source_share = 0.0
        jobs = 0
        for name, plan in plans.items():
            stream = self.stream(name)
            for route in plan.routes:
                own = self.route_cost(stream, route)
                jobs += route.jobs
                latency_ms += route.jobs * own.latency_ms
                energy_j += route.jobs * own.energy_j
                source_share += route.jobs * own.source_share
                for resource, time_ms in own.busy_ms.items():
                    busy[resource] += route.jobs * time_ms
        bottleneck_ms = max(busy.values(), default=0.0) / jobs
        return CostPrediction(
            latency_ms=latency_ms / jobs,
            throughput_hz=1000 / bottleneck_ms if bottleneck_ms > 0 else None,
            energy_j=energy_j / jobs,
            makespan_ms=makespan_ms,
            source_share=source_share / jobs,
        )

    def source_share(self, stream: Stream, route: Route) -> float:
        """Return the share of the model's blocks that the source computes."""
        own = [stage for stage in route.stages if any(tile.device == stream.source for tile in stage.tiles)]
        return sum(stage.stop - stage.start for stage in own) / len(self.problem.models[stream.model].blocks)

    def makespan_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> float:
        """Return when the last of all jobs ends if every stream's burst starts at 0, in ms."""
        if len(plans) == 1 and _first_come(disciplines):
            ((name, plan),) = plans.items()
            if len(plan.routes) == 1:
                route = plan.routes[0]
                closed = identical_makespan_ms(self.operations(self.stream(name), route), route.jobs)
                if closed is not None:
                    return closed
        return max(self.delays_ms(plans, disciplines, turns), default=0.0)

    def delays_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> tuple[float, ...]:
        """Return when each job ends if every stream's burst starts at 0, in starting order, in ms.

        Devices without a discipline are FIFO; round robin shares the processor in infinitely small slots.
        """
        names, kinds, which = self._job_kinds(plans, turns)
        if _first_come(disciplines):
            ends = feed_forward_ms(kinds, which) if in_arrays(len(which), len(kinds)) else None
            return tuple(ends_ms(kinds, which.tolist()) if ends is None else ends.tolist())
        deadlines = {name: self.problem.deadline_ms(self.stream(name)) or inf for name in plans}
        jobs = [SimulatedJob(kinds[kind], 0.0, deadlines[names[kind]]) for kind in which.tolist()]
        return run(jobs, Rules(disciplines or {})).end_ms

    def _job_kinds(
        self, plans: Mapping[str, StreamPlan], turns: Sequence[str]
    ) -> tuple[list[str], list[tuple[Operation, ...]], NDArray[np.int64]]:
        """Return stream and operations of every route, and the route of every job in starting order."""
        names: list[str] = []
        kinds: list[tuple[Operation, ...]] = []
        taken, ranks = [], []
        places = start_places(plans, turns)
        for name, plan in plans.items():
            stream = self.stream(name)
            own = np.repeat(np.arange(len(kinds), len(kinds) + len(plan.routes)), [route.jobs for route in plan.routes])
            names += [name] * len(plan.routes)
            kinds += [self.operations(stream, route) for route in plan.routes]
            taken.append(own[np.array(plan.order, dtype=np.int64)])
            ranks.append(places[name])
        return names, kinds, np.concatenate(taken)[np.argsort(np.concatenate(ranks), kind="stable")]

    def off_source_blocks(self, stream: Stream, route: Route) -> float:
        """Return how many blocks run elsewhere than at the stream's source (Hu & Mishra's objective).

        A tiled stage's blocks count by the share of its rows that are made elsewhere.
        """
        return sum((stage.stop - stage.start) * _share_off(stage, stream.source) for stage in route.stages)

    def cost(
        self,
        objective: Objective,
        plans: Mapping[str, StreamPlan],
        predicted: CostPrediction,
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> float:
        """Return the number that ``objective`` makes small; smaller is better for every objective.

        Latency, makespan, total delay: ms. Energy: joules. Throughput: ms of the bottleneck per request. Deadline:
        mean number of blocks off the source. Delay variance: ms squared.
        """
        match objective:
            case Objective.LATENCY:
                return predicted.latency_ms
            case Objective.THROUGHPUT:
                return 0.0 if predicted.throughput_hz is None else 1000 / predicted.throughput_hz
            case Objective.ENERGY:
                return predicted.energy_j
            case Objective.MAKESPAN:
                return predicted.makespan_ms
            case Objective.DEADLINE:
                return self._mean_off_source(plans)
            case Objective.TOTAL_DELAY:
                return sum(self.delays_ms(plans, disciplines, turns))
            case Objective.DELAY_VARIANCE:
                times = self.delays_ms(plans, disciplines, turns)
                mean = sum(times) / len(times)
                return sum((time - mean) ** 2 for time in times) / len(times)

    def _mean_off_source(self, plans: Mapping[str, StreamPlan]) -> float:
        blocks, jobs = 0.0, 0
        for name, plan in plans.items():
            stream = self.stream(name)
            jobs += sum(route.jobs for route in plan.routes)
            blocks += sum(route.jobs * self.off_source_blocks(stream, route) for route in plan.routes)
        return blocks / jobs

    def send(
        self,
        sender: str,
        receiver: str,
        size_bytes: float,
        stage: int,
        needs: tuple[int, ...] | None = None,
        rows: RowRange | None = None,
    ) -> Operation:
        """Return the sending of a stage's output, or of the input (stage -1), between two devices.

        Raises:
            NoLinkError: if there is no link.
        """
        link = self._link(sender, receiver)
        duration_ms = transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)
        return Operation(Work.SEND, sender, duration_ms, stage, receiver, size_bytes, link.latency_ms, needs, rows)

    def _link(self, sender: str, receiver: str) -> Link:
        link = self._links.get((sender, receiver))
        if link is None:
            raise NoLinkError(f"there is no link from {sender} to {receiver}")
        return link


def start_places(plans: Mapping[str, StreamPlan], turns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return by what each stream's jobs, in their own order, are ranked against those of other streams.

    First the jobs that ``turns`` names, in that order; the others take turns. Of two with the same rank the one of the
    stream that stands first in ``plans`` goes first.
    """
    named: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(turns):
        named[name].append(place)
    places: dict[str, NDArray[np.int64]] = {}
    for name, plan in plans.items():
        own = np.array(named[name][: len(plan.order)], dtype=np.int64)
        places[name] = np.concatenate([own, len(turns) + np.arange(len(own), len(plan.order))])
    return places


def in_arrays(jobs: int, routes: int) -> bool:
    """Say whether so many jobs on so many routes are worth arrays; with fewer, events are quicker."""
    return jobs >= max(LONG_BURST, JOBS_PER_ROUTE * routes)


def _first_come(disciplines: Mapping[str, QueueDiscipline] | None) -> bool:
    return all(discipline is QueueDiscipline.FIFO for discipline in (disciplines or {}).values())


def _share_off(stage: Stage, source: str) -> float:
    """Return which share of a stage's rows other devices than ``source`` make."""
    if not stage.tiled:
        return float(stage.device != source)
    made = [(tile.device, bottom - top) for tile in stage.tiles for top, bottom in [tile.rows or (0, 0)]]
    return sum(rows for device, rows in made if device != source) / max(1, sum(rows for _, rows in made))
