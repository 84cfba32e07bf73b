"""The splitting of volumes as a decision process: states, actions and times of OSDS, DistrEdge's second step."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from planning.cost.cost_model import CostModel
from planning.learned.dense_network import Floats
from planning.problem.plan import Route
from planning.search.linear_costs import LinearCosts
from planning.search.spatial_group import RowUnit, SpatialGroup
from planning.search.volume_routes import Volume, counted_rows, most_rows, volume_route
from planning.tiles.rows import TileRows, rows_at, tile_rows
from shared.row_ranges import NOTHING, RowRange, intersection

# Bounds of an action, those of tanh.
LOW: Final = -1.0
HIGH: Final = 1.0


def rows_of_action(action: Floats, height: int) -> tuple[RowRange, ...]:
    """Return one range per provider: the sorted action is mapped to borders of rows (equation 9)."""
    borders = np.rint(height * (np.sort(action) - LOW) / (HIGH - LOW)).astype(int).tolist()
    counts = np.diff([0, *borders, height]).tolist()
    return tuple(counted_rows(counts))


class SplitEnvironment:
    """Volumes that are split one after the other.

    A state has the times at which the providers end the volumes so far, in units of the time of the whole model on the
    fastest provider, and the configuration of the last layer of the next volume (height, size of a row in place of
    depth, kernel and stride; equation 7), each relative to the largest one.

    Attributes:
        group: the devices and the model.
        spans: first and last unit of every volume.
        unit_ms: the unit of time.
    """

    def __init__(self, group: SpatialGroup, costs: CostModel, volumes: Sequence[Sequence[RowUnit]]) -> None:
        """Prepare the volumes, each given by its units."""
        self.group, self._costs = group, costs
        self.spans = [(units[0], units[-1]) for units in volumes]
        self.unit_ms = costs.latency_ms(group.stream, volume_route(group, (), group.fastest)) or 1.0
        self._linear = LinearCosts(group)
        layers = np.array([self._layer(last) for _, last in self.spans], dtype=np.float64)
        self._layers = (layers / np.maximum(layers.max(axis=0), 1e-12)).astype(np.float32)
        self._tiles: dict[tuple[int, RowRange], TileRows] = {}
        self._tile_ms: dict[tuple[int, int, RowRange], float] = {}
        self._latency_ms: dict[tuple[tuple[RowRange, ...], ...], float] = {}
        self.reset()

    @property
    def states(self) -> int:
        """Numbers in a state."""
        return len(self.group.providers) + 4

    @property
    def actions(self) -> int:
        """Numbers in an action: borders between the providers."""
        return len(self.group.providers) - 1

    def reset(self) -> Floats:
        """Begin a request; return the first state."""
        self._rows: list[tuple[RowRange, ...]] = []
        self._ends_ms = dict.fromkeys((*self.group.providers, self.group.stream.source), 0.0)
        self._link_free_ms: dict[object, float] = {}
        # Holders of the rows of the present cut. The input of a model that begins with blocks without rows has none.
        self._holders: list[tuple[str, RowRange]] = []
        if self.spans[0][0].start == 0:
            self._holders.append((self.group.stream.source, (0, rows_at(self.group.model, 0))))
        self._cut = 0
        self._reach(self.spans[0][0].start)
        return self._state()

    def observe(self, ends_ms: Sequence[float]) -> Floats:
        """Replace the predicted times of the providers by measured ones; return the state."""
        self._ends_ms.update(zip(self.group.providers, ends_ms, strict=True))
        return self._state()

    def step(self, action: Floats) -> Floats | None:
        """Split the next volume; return the next state, None behind the last volume."""
        place = len(self._rows)
        first, last = self.spans[place]
        rows = rows_of_action(action, last.rows or 0)
        self._rows.append(rows)
        arrived = dict(self._ends_ms)
        needs = [self._needed(place, own) for own in rows]
        row_bytes = self._linear.row_bytes(first.start)
        for holder, held in self._holders:
            for provider, needed in zip(self.group.providers, needs, strict=True):
                top, bottom = intersection(needed, held)
                if top < bottom:
                    arrived[provider] = max(
                        arrived[provider], self._sent_ms(holder, provider, (bottom - top) * row_bytes)
                    )
        for index, (provider, own) in enumerate(zip(self.group.providers, rows, strict=True)):
            if own[0] < own[1]:
                self._ends_ms[provider] = arrived[provider] + self._computing_ms(place, index, own)
        self._holders = [(name, own) for name, own in zip(self.group.providers, rows, strict=True) if own[0] < own[1]]
        self._cut = last.stop
        if place + 1 == len(self.spans):
            return None
        self._reach(self.spans[place + 1][0].start)
        return self._state()

    def ends_ms(self) -> list[float]:
        """Return the times at which the providers end the volumes so far, in ms."""
        return [self._ends_ms[name] for name in self.group.providers]

    def volumes(self) -> tuple[Volume, ...]:
        """Return the volumes that have been split."""
        pairs = zip(self.spans, self._rows, strict=False)
        return tuple(Volume(first.start, last.stop, rows) for (first, last), rows in pairs)

    def route(self) -> Route:
        """Return the route of the volumes that have been split."""
        return volume_route(self.group, self.volumes())

    def latency_ms(self) -> float:
        """Return the latency of the route, by the cost model, in ms."""
        key = tuple(self._rows)
        if key not in self._latency_ms:
            self._latency_ms[key] = self._costs.latency_ms(self.group.stream, self.route())
        return self._latency_ms[key]

    def _state(self) -> Floats:
        ends = np.array(self.ends_ms(), dtype=np.float32) / np.float32(self.unit_ms)
        return np.concatenate([ends, self._layers[len(self._rows)]])

    def _layer(self, unit: RowUnit) -> tuple[float, float, float, float]:
        rows = self.group.model.blocks[unit.stop - 1].rows
        return (
            float(unit.rows or 0),
            self._linear.row_bytes(unit.stop),
            float(rows.kernel if rows else 1),
            float(rows.stride if rows else 1),
        )

    def _reach(self, cut: int) -> None:
        """Run the blocks up to ``cut`` that no tile holds, on the device that `volume_route` takes for them."""
        if cut == self._cut:
            return
        group = self.group
        device = most_rows(group, self.volumes()[-1]) if self._rows else group.gateway
        ready_ms = self._ends_ms[device]
        row_bytes = self._linear.row_bytes(self._cut) if self._rows else 0.0
        for holder, (top, bottom) in self._holders:
            if holder != device:
                ready_ms = max(ready_ms, self._sent_ms(holder, device, (bottom - top) * row_bytes))
        if not self._rows and group.stream.source != device:
            ready_ms = max(ready_ms, self._sent_ms(group.stream.source, device, group.model.input_bytes))
        self._ends_ms[device] = ready_ms + self._costs.compute_ms(device, group.stream.model, self._cut, cut)
        self._cut, self._holders = cut, [(device, (0, rows_at(group.model, cut)))]

    def _sent_ms(self, sender: str, receiver: str, size_bytes: float) -> float:
        """Return when so many bytes have arrived, sent as soon as their sender has them and its link is free."""
        if sender == receiver:
            return self._ends_ms[sender]
        sending = self._costs.send(sender, receiver, size_bytes, 0)
        start_ms = max(self._ends_ms[sender], self._link_free_ms.get(sending.server, 0.0))
        self._link_free_ms[sending.server] = start_ms + sending.duration_ms
        return start_ms + sending.duration_ms

    def _needed(self, place: int, rows: RowRange) -> RowRange:
        """Return the rows of a volume's input that these rows of its output need."""
        first, last = self.spans[place]
        if rows[0] >= rows[1]:
            return NOTHING
        # All rows on one device are a stage without tiles, which receives even rows that no layer reads.
        return (0, rows_at(self.group.model, first.start)) if rows == (0, last.rows) else self._tile(place, rows).needed

    def _tile(self, place: int, rows: RowRange) -> TileRows:
        key = place, rows
        if key not in self._tiles:
            first, last = self.spans[place]
            self._tiles[key] = tile_rows(self.group.model, first.start, last.stop, rows)
        return self._tiles[key]

    def _computing_ms(self, place: int, provider: int, rows: RowRange) -> float:
        key = place, provider, rows
        if key not in self._tile_ms:
            name, model, (first, last) = self.group.providers[provider], self.group.stream.model, self.spans[place]
            if rows == (0, last.rows):
                self._tile_ms[key] = self._costs.compute_ms(name, model, first.start, last.stop)
            else:
                computed = self._tile(place, rows).computed
                self._tile_ms[key] = self._costs.tile_ms(name, model, first.start, computed)
        return self._tile_ms[key]
