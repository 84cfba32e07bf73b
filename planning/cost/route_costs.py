"""Costs of one request on one route: its operations, latency, busy times, energy and share at the source."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planning.problem.crossings import Encoding, allowed_encodings, encodings
from planning.problem.plan import RAW, Route, Stage
from planning.problem.problem import Link, Problem, Stream, link_table
from planning.queueing.event_loop import Rules, SimulatedJob, simulate_jobs
from planning.queueing.operations import Operation, Resource, ServerKey, Work
from planning.tiles.tiled_operations import tiled_operations
from shared import link_time
from shared.row_ranges import RowRange
from shared.row_times import share_ms


class NoLinkError(LookupError):
    """A route sends over a link that does not exist."""


@dataclass(frozen=True, slots=True)
class RouteCost:
    """Costs of one request; see the methods of `RouteCostModel` with these names."""

    latency_ms: float
    energy_j: float
    source_share: float
    server_ms: Mapping[ServerKey, float]


class RouteCostModel:
    """Predicts what one request costs on a route of a problem.

    It holds look-up tables of the problem only, and never changes.

    Attributes:
        problem: the problem.
        links: its links by direction.
    """

    def __init__(self, problem: Problem, links: Mapping[tuple[str, str], Link] | None = None) -> None:
        """Index the links of ``problem``, unless ``links`` is that index: in a large network it takes some time."""
        self.problem = problem
        self.links = link_table(problem.links) if links is None else links
        # Of streams with the same name the first counts, as in `Problem.stream`.
        self._streams = {stream.name: stream for stream in reversed(problem.streams)}

    def stream(self, name: str) -> Stream:
        """Return the stream called ``name``.

        Raises:
            KeyError: if there is none.
        """
        return self._streams[name]

    def allowed(self, model: str, cut: int) -> tuple[Encoding, ...]:
        """Return the encodings that the policy allows at a cut of ``model``."""
        return allowed_encodings(self.problem.models[model], cut, self.problem.policy)

    def linked(self, sender: str, receiver: str) -> bool:
        """Return whether ``sender`` can send to ``receiver``; every device can send to itself."""
        return sender == receiver or (sender, receiver) in self.links

    def compute_ms(self, device: str, model: str, start: int, stop: int) -> float:
        """Return load factor x (sum of the blocks' times + segment overhead) of blocks ``[start, stop)``, in ms.

        Raises:
            KeyError: if the device cannot run the model.
        """
        profile = self.problem.devices[device]
        return profile.slowdown * (sum(profile.block_ms[model][start:stop]) + profile.segment_overhead_ms)

    def tile_ms(self, device: str, model: str, start: int, computed: Sequence[RowRange]) -> float:
        """Return the time of a tile that computes these rows of the blocks from ``start`` on, halo included, in ms.

        It is load factor x (sum of the blocks' shares + overheads of a segment and a tile). A block's share is linear
        in its rows, or interpolated in the device's table, after its rows are rounded up to a multiple of ``row_step``.

        Raises:
            KeyError: if the device cannot run the model.
        """
        profile = self.problem.devices[device]
        blocks, times = self.problem.models[model].blocks, profile.block_ms[model]
        tables = profile.row_ms.get(model, (None,) * len(blocks))
        total_ms, step = profile.segment_overhead_ms + profile.tile_overhead_ms, profile.row_step
        for index, (top, bottom) in enumerate(computed, start):
            rows = blocks[index].rows
            of = rows.output_rows if rows else 0
            total_ms += share_ms(times[index], tables[index], -(-(bottom - top) // step) * step, of)
        return profile.slowdown * total_ms

    def transfer_ms(self, sender: str, receiver: str, size_bytes: float) -> float:
        """Return the time of a transfer (`shared.link_time`), in ms; 0 on the same device.

        Raises:
            NoLinkError: if there is no link.
        """
        if sender == receiver:
            return 0.0
        link = self._link(sender, receiver)
        return link_time.transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)

    def encoding(self, model: str, cut: int, codec: str) -> Encoding:
        """Return the encoding called ``codec`` of what crosses ``cut``.

        Raises:
            KeyError: if it is not offered there.
        """
        profile = self.problem.models[model]
        # The usual case, a raw tensor of a chain, without building the encodings of the cut.
        if codec == RAW and cut and profile.edges is None:
            return Encoding(RAW, profile.blocks[cut - 1].output_bytes)
        for encoding in encodings(profile, cut):
            if encoding.codec == codec:
                return encoding
        raise KeyError(f"model {model} has no encoding {codec} at cut {cut}")

    def codec_ms(self, device: str, work_ms: float) -> float:
        """Return the time that encoding or decoding takes on ``device``: load factor x time / codec speed, in ms."""
        profile = self.problem.devices[device]
        return profile.slowdown * work_ms / profile.codec_speed

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        """Return the operations of a request on ``route``: sendings and computings, in order.

        On a route without tiles each waits for the one before it. With tiles, operations name what they need: a tile
        waits for the rows that it needs, and a sending for its own rows. Each device sends rows in the order of their
        receivers among the next stage's tiles. Encoding, decoding and raw bytes are divided by rows.

        Raises:
            NoLinkError: if two neighbouring devices are not linked.
            KeyError: if a device cannot run the model, or an encoding is not offered.
            UntileableError: if a stage with several tiles lacks row data.
        """
        if route.tiled:
            return tiled_operations(self, stream, route)
        steps: list[Operation] = []
        model = self.problem.models[stream.model]
        # A device decodes what it receives, and encodes what it sends, as part of its computing. So decoding is carried
        # over to the next stage, and to the sink behind the last one.
        here, decode_ms = stream.source, 0.0
        first = route.stages[0].device
        if first != here:
            steps.append(self.send(here, first, model.input_bytes, -1))
        for index, stage in enumerate(route.stages):
            here = stage.device
            receiver = route.stages[index + 1].device if index + 1 < len(route.stages) else stream.sink
            sends = receiver is not None and receiver != here
            encoding = self.encoding(stream.model, stage.stop, stage.codec if sends else RAW)
            duration_ms = self.compute_ms(here, stream.model, stage.start, stage.stop) + self.codec_ms(here, decode_ms)
            duration_ms += self.codec_ms(here, encoding.encode_ms)
            steps.append(Operation(Work.COMPUTE, here, duration_ms, index))
            decode_ms = encoding.decode_ms
            if receiver is not None and sends:
                steps.append(self.send(here, receiver, encoding.size_bytes, index))
        if decode_ms and stream.sink is not None:
            decoding_ms = self.codec_ms(stream.sink, decode_ms)
            steps.append(Operation(Work.COMPUTE, stream.sink, decoding_ms, len(route.stages)))
        return tuple(steps)

    def send(
        self,
        sender: str,
        receiver: str,
        size_bytes: float,
        stage: int,
        needs: tuple[int, ...] | None = None,
        rows: RowRange | None = None,
    ) -> Operation:
        """Return the sending of a stage's output, or of the input, between two devices.

        Args:
            sender: the device that sends.
            receiver: another device.
            size_bytes: encoded size.
            stage: the stage whose output is sent; -1 for the input.
            needs: places of the operations that must have ended before; None means the one before it.
            rows: rows ``[top, bottom)`` of the output that are sent; None means all.

        Raises:
            NoLinkError: if there is no link.
        """
        link = self._link(sender, receiver)
        duration_ms = link_time.transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)
        own_link = self.problem.devices[sender].separate_links
        return Operation(
            Work.SEND, sender, duration_ms, stage, receiver, size_bytes, link.latency_ms, needs, rows, own_link
        )

    def latency_ms(self, stream: Stream, route: Route) -> float:
        """Return the latency of one request that is alone, in ms.

        It is the sum of all operations. With tiles it is the end of a simulation in which every queue is FIFO.
        """
        operations = self.operations(stream, route)
        if route.tiled:
            return simulate_jobs([SimulatedJob(operations)], Rules()).end_ms[0]
        return sum(operation.duration_ms for operation in operations)

    def busy_ms(self, stream: Stream, route: Route) -> dict[Resource, float]:
        """Return the busy time per request of every device's computing and every device's sending, in ms."""
        busy: defaultdict[Resource, float] = defaultdict(float)
        for operation in self.operations(stream, route):
            busy[operation.resource] += operation.duration_ms
        return dict(busy)

    def server_ms(self, stream: Stream, route: Route) -> dict[ServerKey, float]:
        """Return the busy time per request of everything that does one operation at a time, in ms."""
        busy: defaultdict[ServerKey, float] = defaultdict(float)
        for operation in self.operations(stream, route):
            busy[operation.server] += operation.duration_ms
        return dict(busy)

    def energy_j(self, stream: Stream, route: Route) -> float:
        """Return the energy of one request above idling, in joules: sum of power x time / 1000 over its operations."""
        energy_mj = 0.0
        for operation in self.operations(stream, route):
            energy_mj += self.power_w(operation) * operation.duration_ms
        return energy_mj / 1000

    def power_w(self, operation: Operation) -> float:
        """Return the power that an operation takes above idling, in watts.

        Computing takes active - idle watts of its device. Sending takes tx watts of the sender and rx watts of the
        receiver.
        """
        device = self.problem.devices[operation.device]
        if operation.target is None:
            return device.power_active_w - device.power_idle_w
        return device.power_tx_w + self.problem.devices[operation.target].power_rx_w

    def source_share(self, stream: Stream, route: Route) -> float:
        """Return the share of the model's blocks that the source computes, 0 to 1.

        A tiled stage counts if one of its tiles is at the source.
        """
        own = [stage for stage in route.stages if any(tile.device == stream.source for tile in stage.tiles)]
        return sum(stage.stop - stage.start for stage in own) / len(self.problem.models[stream.model].blocks)

    def off_source_blocks(self, stream: Stream, route: Route) -> float:
        """Return the number of blocks that run off the stream's source (Hu & Mishra's objective).

        A tiled stage's blocks count by the share of its rows that are made elsewhere.
        """
        return sum((stage.stop - stage.start) * _off_source_share(stage, stream.source) for stage in route.stages)

    def route_cost(self, stream: Stream, route: Route) -> RouteCost:
        """Return all costs of one request on ``route``; constraints are not checked."""
        return RouteCost(
            self.latency_ms(stream, route),
            self.energy_j(stream, route),
            self.source_share(stream, route),
            self.server_ms(stream, route),
        )

    def _link(self, sender: str, receiver: str) -> Link:
        link = self.links.get((sender, receiver))
        if link is None:
            raise NoLinkError(f"there is no link from {sender} to {receiver}")
        return link


def _off_source_share(stage: Stage, source: str) -> float:
    """Return the share of a stage's rows that other devices than ``source`` make."""
    if not stage.tiled:
        return float(stage.device != source)
    made = [(tile.device, bottom - top) for tile in stage.tiles for top, bottom in [tile.rows or (0, 0)]]
    return sum(rows for device, rows in made if device != source) / max(1, sum(rows for _, rows in made))
