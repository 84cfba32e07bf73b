"""The devices and the parts of a model that a strategy with tiles divides a stream's requests over."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from planning.problem.crossings import crossing_blocks
from planning.problem.problem import Model, Stream
from planning.search.device_network import DeviceNetwork
from planning.tiles.rows import output_rows, segment_fault

# Largest number of providers. Late layers have few rows, so that more of them would have none.
MOST_PROVIDERS: Final = 32


@dataclass(frozen=True, slots=True)
class RowUnit:
    """Blocks ``[start, stop)`` at whose ends a stage of tiles may begin or end: a layer, or a block of branches.

    Attributes:
        start: first block.
        stop: block after the last one.
        rows: rows of the output; None if every row depends on the whole input, so that no tile can hold the unit.
    """

    start: int
    stop: int
    rows: int | None


@dataclass(frozen=True, slots=True, eq=False)
class SpatialGroup:
    """What a strategy with tiles knows of one stream.

    Attributes:
        network: devices, links and encodings of the problem.
        stream: the stream.
        providers: devices that may compute, each linked with all others and with the stream's ends, in the order of
            the problem.
        whole_ms: time of the whole model on each provider under load, in ms.
        units: the model from its first to its last block. No two neighbours are both without rows.
    """

    network: DeviceNetwork
    stream: Stream
    providers: tuple[str, ...]
    whole_ms: tuple[float, ...]
    units: tuple[RowUnit, ...]

    @property
    def model(self) -> Model:
        """The stream's model."""
        return self.network.problem.models[self.stream.model]

    @property
    def fastest(self) -> str:
        """The provider with the highest computing capability, the first of several."""
        return self.providers[self.whole_ms.index(min(self.whole_ms))]

    @property
    def gateway(self) -> str:
        """The device that gathers and hands out: the stream's source if it computes, else the fastest provider."""
        return self.stream.source if self.stream.source in self.providers else self.fastest

    def capability_shares(self) -> list[float]:
        """Return each provider's share of the group's computing capability; they add up to 1.

        The capability of a device is a single number, FLOP/s over the whole model (MoDNN, CoEdge, AOFL). Providers
        that take no time share alike.
        """
        if 0 in self.whole_ms:
            speeds = [float(each == 0) for each in self.whole_ms]
        else:
            speeds = [1 / each for each in self.whole_ms]
        return [each / sum(speeds) for each in speeds]

    def stretches(self) -> list[tuple[RowUnit, ...]]:
        """Return the longest runs of units with rows, in order."""
        runs: list[list[RowUnit]] = [[]]
        for unit in self.units:
            if unit.rows is None:
                runs.append([])
            else:
                runs[-1].append(unit)
        return [tuple(run) for run in runs if run]


def spatial_group(network: DeviceNetwork, stream: Stream) -> SpatialGroup | None:
    """Return the group of a stream; None if no device can run its model between its source and its sink.

    Providers are taken by descending capability, as many as the policy allows and MOST_PROVIDERS at most. If the input
    must stay at the source, the source comes first, and the first unit is one that is not split.
    """
    problem, at_source = network.problem, network.problem.policy.raw_input_stays_on_source
    model, names = problem.models[stream.model], network.able_in_tiles(stream.model)
    most = min(MOST_PROVIDERS, problem.policy.max_devices or MOST_PROVIDERS)
    if len(names) < 2:
        # One device, which may be any, is not split.
        names, most = network.able(stream.model), 1
    whole_ms = {
        name: problem.devices[name].slowdown * sum(problem.devices[name].block_ms[stream.model])
        for name in names
        if (first := problem.devices[name].first_blocks) is None or first >= len(model.blocks)
    }
    if at_source and stream.source not in whole_ms:
        return None
    chosen: list[str] = []
    for name in sorted(whole_ms, key=lambda each: (at_source and each != stream.source, whole_ms[each])):
        if len(chosen) == most:
            break
        if _reachable(network, stream, name) and all(_linked(network, name, each) for each in chosen):
            chosen.append(name)
    if not chosen or (at_source and stream.source not in chosen):
        return None
    providers = tuple(name for name in problem.devices if name in chosen)
    units = row_units(model)
    if at_source and units[0].rows is not None:
        units = _merged((RowUnit(units[0].start, units[0].stop, None), *units[1:]))
    return SpatialGroup(network, stream, providers, tuple(whole_ms[name] for name in providers), units)


def row_units(model: Model) -> tuple[RowUnit, ...]:
    """Return the smallest parts of a model at whose ends the output of one block crosses, in order.

    Neighbours without rows are one unit.
    """
    blocks = len(model.blocks)
    cuts = [0, *(cut for cut in range(1, blocks) if _one_crosses(model, cut)), blocks]
    units = []
    for start, stop in pairwise(cuts):
        whole = segment_fault(model, start, stop) is not None
        units.append(RowUnit(start, stop, None if whole else output_rows(model, start, stop)))
    return _merged(units)


def _merged(units: tuple[RowUnit, ...] | list[RowUnit]) -> tuple[RowUnit, ...]:
    merged: list[RowUnit] = []
    for unit in units:
        joins = merged and merged[-1].rows is None and unit.rows is None
        merged.append(RowUnit(merged.pop().start, unit.stop, None) if joins else unit)
    return tuple(merged)


def _one_crosses(model: Model, cut: int) -> bool:
    return model.edges is None or [block for block, _ in crossing_blocks(model, cut)] == [cut - 1]


def _reachable(network: DeviceNetwork, stream: Stream, name: str) -> bool:
    """Return whether a device is linked with the stream's source in both directions, and sends to its sink."""
    to_sink = stream.sink in (None, name) or network.link(name, stream.sink or name) is not None
    return to_sink and (name == stream.source or _linked(network, name, stream.source))


def _linked(network: DeviceNetwork, one: str, other: str) -> bool:
    return network.link(one, other) is not None and network.link(other, one) is not None
