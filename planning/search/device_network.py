"""Look-ups of a problem that its streams share: devices that can run a model, links, and encodings."""

from collections.abc import Mapping, Sequence

import numpy as np

from planning.problem.crossings import Encoding, allowed_encodings
from planning.problem.problem import Link, Problem, Stream, link_table
from planning.search.arrays import Array
from shared.link_time import transmission_ms

# Everything of a stream but its name.
Kind = tuple[str, str, str | None, int, float | None, float | None]


class DeviceNetwork:
    """A problem's devices by model, links by sender, and encodings by cut.

    Answers are computed once and never change. Searches keep arrays of their own in ``built`` and ``cuts``.

    Attributes:
        problem: the problem.
        built: arrays that streams of one model over the same devices share, by model and devices.
        cuts: routes with one cut, by kind of stream.
    """

    def __init__(self, problem: Problem, links: Mapping[tuple[str, str], Link] | None = None) -> None:
        """Index the links of ``problem`` by their sender; ``links`` is their table by direction, if it is known."""
        self.problem = problem
        self._rank = {name: rank for rank, name in enumerate(problem.devices)}
        self._links: dict[str, dict[str, Link]] = {}
        for (sender, receiver), link in (link_table(problem.links) if links is None else links).items():
            self._links.setdefault(sender, {})[receiver] = link
        self._able: dict[str, tuple[str, ...]] = {}
        self._able_sets: dict[str, frozenset[str]] = {}
        self._useful: dict[str, tuple[str, ...]] = {}
        self.built: dict[tuple[str, tuple[str, ...]], object] = {}
        self.cuts: dict[Kind, object] = {}
        self._offers: dict[str, tuple[tuple[Encoding, ...], ...]] = {}

    def able(self, model: str) -> tuple[str, ...]:
        """Return the devices that can run ``model`` and may be used."""
        devices = self._able.get(model)
        if devices is None:
            problem = self.problem
            allow, deny = problem.policy.devices.allow, frozenset(problem.policy.devices.deny)
            allowed = set(problem.devices) if allow is None else set(allow)
            devices = tuple(
                name
                for name, device in problem.devices.items()
                if model in device.block_ms and name in allowed and name not in deny
            )
            self._able[model] = devices
        return devices

    def can_run(self, device: str, model: str) -> bool:
        """Return whether ``device`` is among `able`."""
        able = self._able_sets.get(model)
        if able is None:
            able = self._able_sets[model] = frozenset(self.able(model))
        return device in able

    def able_in_tiles(self, model: str) -> tuple[str, ...]:
        """Return those of `able` that take part in routes with tiles."""
        return tuple(name for name in self.able(model) if self.problem.devices[name].runs_tiles(model))

    def useful(self, model: str) -> tuple[str, ...]:
        """Return those of `able` that the quickest route of a stream with another source and sink may need.

        A leaf of the network can be skipped under two conditions. Its only neighbour runs every block and starts a
        segment at least as fast, and has memory for the whole model. Routing through the leaf never ends earlier,
        because its input and its output pass through that neighbour.
        """
        devices = self._useful.get(model)
        if devices is None:
            able = self.able(model)
            devices = tuple(name for name in able if not self._is_slower_leaf(model, name))
            self._useful[model] = devices
        return devices

    def neighbours(self, device: str) -> list[str]:
        """Return the devices that ``device`` can send to, in the order of the problem."""
        return sorted(self._links.get(device, ()), key=self._rank.__getitem__)

    def link(self, sender: str, receiver: str) -> Link | None:
        """Return the link from ``sender`` to ``receiver``, if there is one."""
        return self._links.get(sender, {}).get(receiver)

    def offers(self, model: str) -> tuple[tuple[Encoding, ...], ...]:
        """Return the allowed encodings at every cut 0..B of ``model``."""
        offers = self._offers.get(model)
        if offers is None:
            own, policy = self.problem.models[model], self.problem.policy
            offers = tuple(allowed_encodings(own, cut, policy) for cut in range(len(own.blocks) + 1))
            self._offers[model] = offers
        return offers

    def matrices(self, nodes: Sequence[str]) -> tuple[Array, Array]:
        """Return latency (inf without a link), [N, N], and time per byte, [N, N], from row to column, in ms."""
        position = {name: index for index, name in enumerate(nodes)}
        latency_ms = np.full((len(nodes), len(nodes)), np.inf)
        per_byte_ms = np.zeros((len(nodes), len(nodes)))
        for sender, row in position.items():
            links = self._links.get(sender, {})
            # The smaller of both: a hub has many links, and a table of one stream may have few nodes.
            for receiver in links if len(links) < len(position) else position:
                column, link = position.get(receiver), links.get(receiver)
                if column is not None and link is not None:
                    latency_ms[row, column] = link.latency_ms
                    per_byte_ms[row, column] = transmission_ms(1.0, link.bandwidth_mbps)
        return latency_ms, per_byte_ms

    def _is_slower_leaf(self, model: str, name: str) -> bool:
        links = self._links.get(name, {})
        if len(links) != 1:
            return False
        (neighbour,) = links
        # Two devices that are linked only to each other are both leaves, and must not both be skipped.
        if not self.can_run(neighbour, model) or len(self._links[neighbour]) < 2:
            return False
        own, other = self.problem.devices[name], self.problem.devices[neighbour]
        # A bound on memory could keep the neighbour from taking the leaf's blocks. A slower codec could make it later.
        if other.memory_bytes is not None or other.first_blocks is not None:
            return False
        if other.codec_speed / other.slowdown < own.codec_speed / own.slowdown:
            return False
        if own.slowdown * own.segment_overhead_ms < other.slowdown * other.segment_overhead_ms:
            return False
        pairs = zip(own.block_ms[model], other.block_ms[model], strict=True)
        return all(own.slowdown * slow >= other.slowdown * fast for slow, fast in pairs)


def kind_of(stream: Stream) -> Kind:
    """Return everything of a stream but its name: two of one kind may take the same routes at the same cost."""
    return stream.model, stream.source, stream.sink, stream.jobs, stream.rate_hz, stream.deadline_ms


def network_of(problem: Problem, known: DeviceNetwork | None) -> DeviceNetwork:
    """Return ``known`` if it belongs to this very problem, otherwise a new network."""
    return known if known is not None and known.problem is problem else DeviceNetwork(problem)
