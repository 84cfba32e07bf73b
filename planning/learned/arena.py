"""Problems as arrays of one size, so that the learned partitioner places the blocks of many of them in parallel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planning.cost.constraints import SLACK
from planning.problem.problem import Problem, Stream, link_table
from planning.search.arrays import Array, Flags, Index
from planning.search.cost_tables import Tables, build_tables, latency_measure


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Time and memory that earlier streams take of every device, by its name; times per request of the next stream."""

    computing_ms: Mapping[str, float]
    sending_ms: Mapping[str, float]
    parameter_bytes: Mapping[str, float]
    working_bytes: Mapping[str, float]


NO_OCCUPANCY = Occupancy({}, {}, {}, {})


@dataclass(frozen=True, slots=True, eq=False)
class Arena:
    """M problem instances of at most N devices and B blocks.

    Smaller instances are filled up with devices that cannot run any block, and with blocks that are never placed.
    Times are in units of `unit_ms`: the time of a request if all devices shared every block in proportion to their
    speed. So instances of any speed look alike.

    Attributes:
        unit_ms: [M].
        blocks: [M] number of blocks.
        source: [M] index of the source.
        sink: [M] index of the sink, -1 without one.
        most_devices: [M] largest number of devices of a route.
        run: [M, B, N] time of a block under the present load; inf where it may not run or does not fit.
        start: [M, N] overhead of a segment.
        move: [M, B + 1, N, N] time of a transfer at a cut, in the encoding that arrives soonest; 0 to itself.
        encode: [M, B + 1, N, N] the sender's time for that encoding; decode likewise the receiver's.
        utilisation: [M, N] share of a device that others use: 1 - 1 / load factor.
        bandwidth: [M, N, N] log10 of the link's Mbps.
        size: [M, B + 1] log of the raw bytes that cross a cut, relative to the largest.
        parameters: [M, B] bytes of weights; working likewise the largest activation.
        room: [M, N] bytes of memory; inf without a limit.
        held_parameters: [M, N] bytes that earlier streams hold; held_working, computing, sending likewise.
        ahead: [M, B, N] whether the remaining blocks find devices along links if this block runs here. The memory of
            several blocks on one device does not count.
        alone: [M, B, N] whether this device can run all remaining blocks.
    """

    unit_ms: Array
    blocks: Index
    source: Index
    sink: Index
    most_devices: Index
    run: Array
    start: Array
    move: Array
    encode: Array
    decode: Array
    utilisation: Array
    bandwidth: Array
    size: Array
    parameters: Array
    working: Array
    room: Array
    held_parameters: Array
    held_working: Array
    computing: Array
    sending: Array
    ahead: Flags
    alone: Flags


def soonest_encodings(tables: Tables) -> Index:
    """Return [B + 1, D, D]: the encoding of a cut's tensors that arrives at the receiver soonest."""
    return np.asarray(latency_measure(tables).move.argmin(axis=1))


def arena_of(problem: Problem, stream: Stream, tables: Tables, held: Occupancy = NO_OCCUPANCY) -> Arena:
    """Return the arena with the one instance ``stream`` of ``problem``; O(B D^2)."""
    model, profiles = problem.models[stream.model], [problem.devices[name] for name in tables.nodes]
    count, blocks = tables.run_ms.shape
    unit_ms = _shared_ms(tables)
    soonest = soonest_encodings(tables)
    move = np.take_along_axis(tables.transfer_ms, soonest[:, None], axis=1)[:, 0] / unit_ms
    pairs = soonest.reshape(blocks + 1, -1)
    encode = np.take_along_axis(tables.encode_ms, pairs, axis=1).reshape(move.shape)
    decode = np.take_along_axis(tables.decode_ms, pairs, axis=1).reshape(move.shape)
    encode, decode = encode * tables.codec_factor[:, None] / unit_ms, decode * tables.codec_factor / unit_ms
    same = np.arange(count)
    # A tensor that stays on its device is neither sent nor encoded.
    move[:, same, same] = encode[:, same, same] = decode[:, same, same] = 0.0
    size = np.array([tables.offers[cut][0].size_bytes for cut in range(blocks + 1)])
    # The tolerance of the constraint check, so that the mask and the check agree.
    limits = [profile.memory_bytes for profile in profiles]
    room = np.array([np.inf if limit is None else limit + SLACK * max(1.0, limit) for limit in limits])
    bandwidth = np.zeros((count, count))
    places = {name: index for index, name in enumerate(tables.nodes)}
    for (sender, receiver), link in link_table(problem.links).items():
        if sender in places and receiver in places:
            bandwidth[places[sender], places[receiver]] = np.log10(link.bandwidth_mbps)
    parameters = np.array([block.parameter_bytes for block in model.blocks], dtype=np.float64)
    working = np.array([block.working_bytes for block in model.blocks], dtype=np.float64)
    run = tables.run_ms.T / unit_ms
    taken = [
        np.array([values.get(name, 0.0) for name in tables.nodes])
        for values in (held.parameter_bytes, held.working_bytes, held.computing_ms, held.sending_ms)
    ]
    finish = np.full(count, True) if tables.sink is None else np.isfinite(move[-1, :, tables.sink])
    alone = finish & _fits_alone(run, parameters, working, room, taken[0], taken[1])
    one = Arena(
        unit_ms=np.asarray(unit_ms),
        blocks=np.asarray(blocks),
        source=np.asarray(tables.source),
        sink=np.asarray(-1 if tables.sink is None else tables.sink),
        most_devices=np.asarray(problem.policy.max_devices or count),
        run=run,
        start=tables.start_ms / unit_ms,
        move=move,
        encode=encode,
        decode=decode,
        utilisation=np.array([max(0.0, 1 - 1 / profile.slowdown) for profile in profiles]),
        bandwidth=bandwidth,
        size=np.log(np.maximum(size, 1.0) / max(1.0, size.max())),
        parameters=parameters,
        working=working,
        room=room,
        held_parameters=taken[0],
        held_working=taken[1],
        computing=taken[2] / unit_ms,
        sending=taken[3] / unit_ms,
        ahead=_ahead(np.isfinite(run), np.isfinite(move), finish),
        alone=alone,
    )
    return Arena(**{field.name: getattr(one, field.name)[None] for field in fields(Arena)})


def stacked(problems: Sequence[Problem], held: Sequence[Occupancy] = ()) -> Arena:
    """Return the arena of every problem's first stream, with the occupancy ``held`` of each problem if it is given."""
    arenas = [
        arena_of(problem, problem.streams[0], build_tables(problem, problem.streams[0]), taken)
        for problem, taken in zip(problems, held or [NO_OCCUPANCY] * len(problems), strict=True)
    ]
    # A padding device can run no block and has no links.
    missing = {"run": np.inf, "move": np.inf}
    return Arena(
        **{
            field.name: _stack([getattr(arena, field.name)[0] for arena in arenas], missing.get(field.name, 0.0))
            for field in fields(Arena)
        }
    )


def _stack(values: Sequence[NDArray[Any]], missing: float) -> NDArray[Any]:
    """Stack arrays of different sizes, filled up with ``missing``."""
    shape = np.max([value.shape for value in values], axis=0) if values[0].ndim else ()
    stack = np.full((len(values), *shape), missing, dtype=values[0].dtype)
    for index, value in enumerate(values):
        stack[index, ...][tuple(slice(length) for length in value.shape)] = value
    return stack


def _shared_ms(tables: Tables) -> float:
    """Return the time of the model if all devices shared every block in proportion to their speed, in ms."""
    with np.errstate(divide="ignore"):
        rates = (1 / tables.run_ms).sum(axis=0)
        shared_ms = float((1 / rates[rates > 0]).sum())
    return shared_ms if shared_ms > 0 else 1.0


def _fits_alone(
    run: Array, parameters: Array, working: Array, room: Array, held_parameters: Array, held_working: Array
) -> Flags:
    """Return [B, D]: whether blocks from b on can all run and be held on one device."""
    # Accumulated from the last block on: all parameters stay, of the working memory the largest counts.
    rest = np.cumsum(parameters[::-1])[::-1][:, None] + held_parameters
    most = np.maximum(np.maximum.accumulate(working[::-1])[::-1][:, None], held_working)
    able = np.logical_and.accumulate(np.isfinite(run)[::-1], axis=0)[::-1]
    return np.asarray(able & (rest + most <= room))


def _ahead(runs: Flags, linked: Flags, finish: Flags) -> Flags:
    """Return [B, D]: whether block b and all after it find devices that can run them, along links."""
    ahead = np.zeros_like(runs)
    following = finish
    for block in range(len(runs) - 1, -1, -1):
        ahead[block] = runs[block] & following
        following = (linked[block] & ahead[block]).any(axis=1)
    return ahead
