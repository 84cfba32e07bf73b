"""The side constraints of one stream's search, and how much work it may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from planning.cost.constraints import SLACK
from planning.problem.problem import Problem
from planning.search.arrays import Array, Flags
from planning.search.cost_tables import Tables
from shared.segment_memory import segment_memory_bytes

STEPS_PER_SECOND = 8_000
"""How many ways on a label search may look at per second of time budget: partial routes x encodings x devices."""

BEAM_PER_SECOND = 1_000_000
"""How many numbers a beam search may look at per second of time budget."""

MOST_WIDE = 64
"""How many partial routes a beam keeps per block at most."""

BEAM_STEPS_PER_SECOND = 3_000
"""How many blocks a beam search may place per second of time budget; of longer chains runs of blocks are placed."""

LEAST_STEPS = 8
"""A chain of so many blocks is never too long."""

POLISHED_PER_SECOND = 800_000
"""How many blocks of neighbouring routes a local search may look at per second of time budget."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Side constraints of a search, and its share of work.

    Attributes:
        deadline_ms: bound of the latency.
        max_devices: bound of the number of devices that compute.
        memory_bytes: what is left on every node; None if all fits anyway.
        parameter_bytes: of every block.
        working_bytes: largest activation of every block.
        label_limit: a label search gives up after so many labels.
        beam_width: how many partial routes a beam search keeps per block.
        beam_steps: how many blocks a chain may have for a beam search.
        polish_limit: local search looks at so many blocks of neighbouring routes.
    """

    deadline_ms: float | None
    max_devices: int | None
    memory_bytes: tuple[float, ...] | None
    parameter_bytes: tuple[float, ...]
    working_bytes: tuple[float, ...]
    label_limit: int
    beam_width: int
    beam_steps: int
    polish_limit: int

    def in_time(self, latency_ms: Array) -> Flags:
        """Return which latencies, of any shape, are finite and keep the deadline."""
        return np.isfinite(latency_ms) if self.deadline_ms is None else latency_ms <= self.deadline_ms


def limits_of(
    problem: Problem, tables: Tables, time_budget_s: float, held: Mapping[str, float] | None = None
) -> Limits:
    """Return the side constraints of the stream of ``tables``; ``held`` bytes of memory are already taken."""
    model = problem.models[tables.stream.model]
    parameters = tuple(block.parameter_bytes for block in model.blocks)
    working = tuple(block.working_bytes for block in model.blocks)
    need = segment_memory_bytes(parameters, working)
    room = []
    for name in tables.nodes:
        limit = problem.devices[name].memory_bytes
        room.append(inf if limit is None else limit + SLACK * max(1.0, limit) - (held or {}).get(name, 0.0))
    deadline = problem.deadline_ms(tables.stream)
    most = problem.policy.max_devices
    ways = len(tables.nodes) * tables.transfer_ms.shape[1]
    width = int(BEAM_PER_SECOND * time_budget_s) // (ways * tables.blocks)
    return Limits(
        None if deadline is None else deadline + SLACK * max(1.0, deadline),
        None if most is None or most >= min(len(tables.nodes), tables.blocks) else most,
        None if min(room) >= need else tuple(room),
        parameters,
        working,
        4 + int(STEPS_PER_SECOND * time_budget_s) // ways,
        min(MOST_WIDE, max(4, width)),
        max(LEAST_STEPS, int(BEAM_STEPS_PER_SECOND * time_budget_s)),
        int(POLISHED_PER_SECOND * time_budget_s),
    )
