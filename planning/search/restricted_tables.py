"""A stream's arrays without what no route within a latency, or a busy time, can use."""

from dataclasses import replace

import numpy as np

from planning.search.arrays import Array
from planning.search.chain_path import cost_to_go
from planning.search.cost_tables import CostMeasure, Tables, latency_measure

# Relative rounding error by which a time may exceed a limit.
_ROUNDING = 1e-9


def within_latency(tables: Tables, latency_ms: float) -> tuple[Tables, float] | None:
    """Return the arrays without the blocks and transfers through which no route of at most ``latency_ms`` leads.

    The least latency of a route through block i on node d is forward(i + 1, d) + V(i + 1, d), with V of `chain_path`
    and the recurrence from the source on

        forward(1, d) = first(d) + start(d) + run(d, 0)
        forward(i + 1, d) = run(d, i) + min(forward(i, d),
                                            min over e, d' of forward(i, d') + move(i, e, d', d) + start(d)).

    That of a route that sends at a cut is likewise the sum of what comes before, the sending, and what comes after.
    What is left may still contain longer routes.

    Args:
        tables: the arrays.
        latency_ms: the limit.

    Returns:
        The arrays and the least latency in ms, or None if no route is that fast.
    """
    measure = latency_measure(tables)
    togo = cost_to_go(measure)
    forward = _forward(measure)
    least_ms = float((forward[-1] + togo[-1]).min())
    limit_ms = latency_ms * (1 + _ROUNDING)
    if not least_ms <= limit_ms:
        return None
    run_ms, transfer_ms = tables.run_ms.copy(), tables.transfer_ms.copy()
    run_ms[(forward[1:] + togo[1:] > limit_ms).T] = np.inf
    blocks = tables.blocks
    for cut in range(1, blocks):
        # [D]: from the start of a segment at the cut to the end of the route
        after = measure.start + measure.run[:, cut] + togo[cut + 1]
        through = forward[cut][None, :, None] + measure.move[cut] + after[None, None, :]
        transfer_ms[cut][through > limit_ms] = np.inf
    entering = measure.first + measure.start + measure.run[:, 0] + togo[1]
    # The way of the source to itself is no transfer, so its entry is inf already.
    transfer_ms[0][:, tables.source, entering > limit_ms] = np.inf
    if tables.sink is not None:
        leaving = forward[blocks][None, :] + measure.finish
        transfer_ms[blocks][:, :, tables.sink][leaving > limit_ms] = np.inf
    first = tables.allowed_first & (entering <= limit_ms)
    return replace(tables, run_ms=run_ms, transfer_ms=transfer_ms, allowed_first=first), least_ms


def within_busy_time(tables: Tables, busy_ms: float) -> Tables:
    """Return the arrays without blocks and transfers that keep a device busy for more than ``busy_ms`` by themselves.

    A block counts with the start of a segment, because a device that computes starts at least one.
    """
    limit_ms = busy_ms * (1 + _ROUNDING)
    run_ms, transfer_ms = tables.run_ms.copy(), tables.transfer_ms.copy()
    run_ms[run_ms + tables.start_ms[:, None] > limit_ms] = np.inf
    transfer_ms[transfer_ms > limit_ms] = np.inf
    return replace(tables, run_ms=run_ms, transfer_ms=transfer_ms)


def _forward(measure: CostMeasure) -> Array:
    """Return the least cost of having done blocks [0, i), the last of them on d: [B + 1, D]. Row 0 has no meaning."""
    nodes, blocks = measure.run.shape
    forward = np.full((blocks + 1, nodes), np.inf)
    forward[1] = measure.first + measure.start + measure.run[:, 0]
    cheapest = measure.move.min(axis=1)
    for done in range(1, blocks):
        moved = (forward[done][:, None] + cheapest[done]).min(axis=0) + measure.start
        forward[done + 1] = measure.run[:, done] + np.minimum(forward[done], moved)
    return forward
