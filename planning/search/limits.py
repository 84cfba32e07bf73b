"""The side constraints of one stream's search, and how much work it may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from planning.cost.constraints import SLACK
from planning.problem.problem import Problem
from planning.search.arrays import Array, Flags
from planning.search.cost_tables import Tables
from planning.search.search_clock import ENDLESS, SearchClock
from shared.segment_memory import segment_memory_bytes

# The time budget of a search is an amount of work, so that its result does not depend on the machine. The constants
# turn seconds into counts. They stand here because the searches share the budget of one stream.

# Label search: extensions per second, counted as partial routes x encodings x devices.
LABEL_WAYS_PER_SECOND = 8_000

# Label search: labels at any time budget, all streams together. Small problems are solved within them.
LEAST_LABELS = 1_000

# Beam search: numbers per second, counted as partial routes x blocks x encodings x devices.
BEAM_NUMBERS_PER_SECOND = 1_000_000

# Partial routes that a beam keeps per block at most.
MAX_BEAM_WIDTH = 64

# Beam search: blocks placed per second, however narrow the beam. Of longer chains it places runs of blocks.
BEAM_BLOCKS_PER_SECOND = 3_000

# Number of blocks up to which a chain is never too long for a beam.
MIN_BEAM_BLOCKS = 8

# Local search: blocks of neighbouring routes per second.
LOCAL_SEARCH_BLOCKS_PER_SECOND = 800_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Side constraints of a search, and its share of work.

    Attributes:
        deadline_ms: bound of the latency, rounding allowed for; None if there is none.
        max_devices: bound of the number of devices that compute; None if no route can exceed it.
        memory_bytes: [D] memory that is left on every node, rounding allowed for; None if any route fits.
        parameter_bytes: [B] parameters of every block.
        working_bytes: [B] largest activation of every block.
        label_limit: labels that a label search settles before it gives up.
        beam_width: partial routes that a beam search keeps per block.
        beam_blocks: blocks that a chain may have for a beam search.
        local_search_limit: blocks of neighbouring routes that a local search looks at.
        clock: ends the searches.
    """

    deadline_ms: float | None
    max_devices: int | None
    memory_bytes: tuple[float, ...] | None
    parameter_bytes: tuple[float, ...]
    working_bytes: tuple[float, ...]
    label_limit: int
    beam_width: int
    beam_blocks: int
    local_search_limit: int
    clock: SearchClock = ENDLESS

    def in_time(self, latency_ms: Array) -> Flags:
        """Return which latencies, of any shape, are finite and keep the deadline."""
        return np.isfinite(latency_ms) if self.deadline_ms is None else latency_ms <= self.deadline_ms


def limits_of(
    problem: Problem,
    tables: Tables,
    time_budget_s: float,
    held: Mapping[str, float] | None = None,
    clock: SearchClock = ENDLESS,
) -> Limits:
    """Return the side constraints of the stream of ``tables``, and its share of work.

    Args:
        problem: the problem.
        tables: the stream's arrays.
        time_budget_s: of this stream's search.
        held: memory in bytes that other streams already take, by device.
        clock: ends the searches.
    """
    model = problem.models[tables.stream.model]
    parameters = tuple(block.parameter_bytes for block in model.blocks)
    working = tuple(block.working_bytes for block in model.blocks)
    whole_bytes = segment_memory_bytes(parameters, working)
    room_bytes = []
    for name in tables.nodes:
        limit = problem.devices[name].memory_bytes
        room_bytes.append(inf if limit is None else limit + SLACK * max(1.0, limit) - (held or {}).get(name, 0.0))
    deadline_ms = problem.deadline_ms(tables.stream)
    max_devices = problem.policy.max_devices
    # A constraint that no route can break is dropped: a label that carries it is dominated less often.
    if max_devices is not None and max_devices >= min(len(tables.nodes), tables.blocks):
        max_devices = None
    ways = len(tables.nodes) * tables.transfer_ms.shape[1]
    width = int(BEAM_NUMBERS_PER_SECOND * time_budget_s) // (ways * tables.blocks)
    return Limits(
        deadline_ms=None if deadline_ms is None else deadline_ms + SLACK * max(1.0, deadline_ms),
        max_devices=max_devices,
        memory_bytes=None if min(room_bytes) >= whole_bytes else tuple(room_bytes),
        parameter_bytes=parameters,
        working_bytes=working,
        label_limit=max(LEAST_LABELS // len(problem.streams), 4 + int(LABEL_WAYS_PER_SECOND * time_budget_s) // ways),
        beam_width=min(MAX_BEAM_WIDTH, max(4, width)),
        beam_blocks=max(MIN_BEAM_BLOCKS, int(BEAM_BLOCKS_PER_SECOND * time_budget_s)),
        local_search_limit=int(LOCAL_SEARCH_BLOCKS_PER_SECOND * time_budget_s),
        clock=clock,
    )
