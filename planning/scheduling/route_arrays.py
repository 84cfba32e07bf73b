"""Many routes of one stream in arrays, for searches that compare thousands of them at once.

Shapes: R routes, B blocks, S steps (the most of any route), D nodes.
"""

from dataclasses import dataclass

import numpy as np

from planning.scheduling.route_forms import RouteForm, RouteForms
from planning.search.arrays import Array, Flags, Index
from planning.search.cost_tables import Tables

# Stages of a drawn route at most.
MAX_STAGES = 6

# Share of the varied routes whose last blocks are redrawn.
TAIL_SHARE = 0.5

# Share of the routes whose encodings are drawn, and share of their cuts at which they are.
_OTHER_CODECS, _OTHER_CUTS = 0.5, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class RouteArrays:
    """Routes by ascending latency. Limits that hold for all streams together are not considered.

    Attributes:
        nodes: [R, B] node of every block, by index.
        codecs: [R, B] encoding at the cut after every block, by index; 0 where nothing is sent.
        servers: [R, S] server of every step, as in `RouteForm`; ``no_server`` where a route has fewer steps.
        work_ms: [R, S] time of every step; 0 where a route has fewer steps.
        latency_ms: [R] sum of the times.
        no_server: the server of a step that a route does not have.
    """

    nodes: Index
    codecs: Index
    servers: Index
    work_ms: Array
    latency_ms: Array
    no_server: int

    def form(self, forms: RouteForms, place: int) -> RouteForm | None:
        """Return the route at a place, or None if it breaks a constraint."""
        return forms.form(tuple(self.nodes[place].tolist()), tuple(self.codecs[place].tolist()))

    def with_more(self, others: "RouteArrays", most: int) -> "RouteArrays":
        """Return these routes with ``others``, but at most ``most`` of them, evenly spread."""
        latency_ms = np.concatenate([self.latency_ms, others.latency_ms])
        order = np.argsort(latency_ms, kind="stable")
        if len(order) > most:
            order = order[np.linspace(0, len(order) - 1, most).astype(np.int64)]
        shape = len(latency_ms), max(self.servers.shape[1], others.servers.shape[1])
        servers, work_ms = np.full(shape, self.no_server), np.zeros(shape)
        for routes, start in ((self, 0), (others, len(self.latency_ms))):
            part = slice(start, start + len(routes.latency_ms)), slice(routes.servers.shape[1])
            servers[part], work_ms[part] = routes.servers, routes.work_ms
        return RouteArrays(
            np.concatenate([self.nodes, others.nodes])[order],
            np.concatenate([self.codecs, others.codecs])[order],
            servers[order],
            work_ms[order],
            latency_ms[order],
            self.no_server,
        )


def drawn_routes(forms: RouteForms, count: int, random: np.random.Generator) -> RouteArrays:
    """Return those of ``count`` random routes that can be taken.

    A route has up to MAX_STAGES stages on nodes that can run some block. It sends in the quickest encodings, or in any.
    """
    tables = forms.tables
    cuts = tables.blocks - 1
    stages = random.integers(1, min(MAX_STAGES, tables.blocks) + 1, count)
    # The cuts of a route are those with the least of random numbers.
    is_cut = random.random((count, cuts)).argsort(axis=1).argsort(axis=1) < stages[:, None] - 1
    stage = np.concatenate([np.zeros((count, 1), dtype=np.int64), np.cumsum(is_cut, axis=1)], axis=1)
    # Where no node can run a block, no route is possible, whichever is drawn.
    able = np.array(forms.times.able or [tables.source])
    nodes = np.take_along_axis(able[random.integers(0, len(able), (count, MAX_STAGES))], stage, axis=1)
    return _possible(forms, nodes, random)


def varied_routes(forms: RouteForms, like: Index, random: np.random.Generator) -> RouteArrays:
    """Return those routes that can be taken of as many as there are in ``like``, each with a part of it redrawn.

    A run of blocks, half of the time up to the last one, moves to one or two nodes.

    Args:
        forms: the routes of the stream.
        like: [R, B] node of every block.
        random: the source of draws.
    """
    count, blocks = like.shape
    start: Index = np.asarray(random.integers(0, blocks, count))
    stop = np.where(random.random(count) < TAIL_SHARE, blocks, random.integers(start, blocks) + 1)
    middle = np.asarray(random.integers(start, stop + 1))
    block = np.arange(blocks)
    able = np.array(forms.times.able or [forms.tables.source])
    one, two = able[random.integers(0, len(able), count)], able[random.integers(0, len(able), count)]
    redrawn = np.where(block < middle[:, None], one[:, None], two[:, None])
    is_redrawn = (block >= start[:, None]) & (block < stop[:, None])
    return _possible(forms, np.where(is_redrawn, redrawn, like), random)


def _possible(forms: RouteForms, nodes: Index, random: np.random.Generator) -> RouteArrays:
    """Return those routes over these nodes, [R, B], that can be taken, in the quickest encodings or in any."""
    tables = forms.tables
    receivers = _receivers(tables, nodes)
    after = np.arange(1, tables.blocks + 1)
    codecs = np.array(forms.times.quickest)[after, nodes, receivers]
    offered = np.array([len(offer) for offer in tables.offers[1:]])
    others = (random.random(codecs.shape) * offered).astype(np.int64)
    redrawn = (random.random((len(nodes), 1)) < _OTHER_CODECS) & (random.random(codecs.shape) < _OTHER_CUTS)
    codecs = np.where(receivers == nodes, 0, np.where(redrawn, others, codecs))
    servers, work_ms = _steps(forms, nodes, codecs, receivers)
    latency_ms = work_ms.sum(axis=1)
    possible = np.flatnonzero(np.isfinite(latency_ms) & tables.allowed_first[nodes[:, 0]])
    chosen = possible[np.argsort(latency_ms[possible], kind="stable")]
    return RouteArrays(
        nodes[chosen], codecs[chosen], servers[chosen], work_ms[chosen], latency_ms[chosen], forms.servers
    )


def _receivers(tables: Tables, nodes: Index) -> Index:
    """Return the node that gets the output of every block, [R, B]; it is the block's own if nothing is sent."""
    last = nodes[:, -1:] if tables.sink is None else np.full((len(nodes), 1), tables.sink)
    return np.concatenate([nodes[:, 1:], last], axis=1)


def _steps(forms: RouteForms, nodes: Index, codecs: Index, receivers: Index) -> tuple[Index, Array]:
    """Return servers and times of the routes' steps, [R, S] each, by `RouteCostModel.operations`.

    A time is infinite where a block cannot run or nothing can be sent.
    """
    tables, device = forms.tables, np.array(forms.device)
    routes, blocks = nodes.shape
    block, after = np.arange(blocks), np.arange(1, blocks + 1)
    sends: Flags = receivers != nodes
    # A segment ends where its output is sent, or after the last block.
    is_end = sends | (after == blocks)
    is_start = np.concatenate([np.ones((routes, 1), dtype=np.bool_), is_end[:, :-1]], axis=1)
    start = np.maximum.accumulate(np.where(is_start, block, 0), axis=1)
    runs = np.isfinite(tables.run_ms)
    sums = np.concatenate([np.zeros((len(runs), 1)), np.cumsum(np.where(runs, tables.run_ms, 0.0), axis=1)], axis=1)
    encode_ms = np.where(sends, tables.encode_ms[after, codecs] * tables.codec_factor[nodes], 0.0)
    decode_ms = np.where(sends, tables.decode_ms[after, codecs] * tables.codec_factor[receivers], 0.0)
    decoded_ms = np.concatenate([np.zeros((routes, 1)), decode_ms[:, :-1]], axis=1)
    segment_ms = tables.start_ms[nodes] + sums[nodes, after] - sums[nodes, start] + encode_ms
    segment_ms = segment_ms + np.take_along_axis(decoded_ms, start, axis=1)
    segment_ms[~runs[nodes, block].all(axis=1)] = np.inf
    # Columns: the input's way, then computing and sending of every segment at its last block, then the sink's decoding.
    shape = routes, 2 * blocks + 2
    happens, servers, work_ms = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int64), np.zeros(shape)
    happens[:, 0] = nodes[:, 0] != tables.source
    servers[:, 0], work_ms[:, 0] = 2 * device[tables.source] + 1, tables.transfer_ms[0, 0, tables.source, nodes[:, 0]]
    happens[:, 1:-1:2], servers[:, 1:-1:2], work_ms[:, 1:-1:2] = is_end, 2 * device[nodes], segment_ms
    happens[:, 2:-1:2], servers[:, 2:-1:2] = sends, 2 * device[nodes] + 1
    work_ms[:, 2:-1:2] = tables.transfer_ms[after, codecs, nodes, receivers]
    if tables.sink is not None:
        happens[:, -1] = decode_ms[:, -1] > 0
        servers[:, -1], work_ms[:, -1] = 2 * device[tables.sink], decode_ms[:, -1]
    servers[~happens], work_ms[~happens] = forms.servers, 0.0
    order = np.argsort(~happens, axis=1, kind="stable")[:, : int(happens.sum(axis=1).max(initial=1))]
    return np.take_along_axis(servers, order, axis=1), np.take_along_axis(work_ms, order, axis=1)
