"""The minimum cut is the quickest of all closed sets of blocks."""

import random
from itertools import combinations

import pytest

from benchmarks.min_cut import cheapest_division
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream


def _problem(rng: random.Random) -> Problem:
    """Return a model of six blocks with random edges, and two devices."""
    blocks = tuple(Block(f"b{index}", rng.randint(1, 60_000) // (index + 1)) for index in range(6))
    pairs = [pair for pair in combinations(range(6), 2) if rng.random() < 0.4]
    edges = tuple((maker, reader, float(blocks[maker].output_bytes)) for maker, reader in pairs)
    devices = {
        "near": Device({"m": tuple(rng.uniform(1, 20) for _ in blocks)}, segment_overhead_ms=rng.uniform(0, 2)),
        "far": Device({"m": tuple(rng.uniform(0, 4) for _ in blocks)}, segment_overhead_ms=rng.uniform(0, 2)),
    }
    model = Model(rng.randint(100_000, 1_000_000), blocks, edges)
    link = Link("near", "far", rng.uniform(5, 100), rng.uniform(0, 3))
    return Problem({"m": model}, devices, (link,), (Stream("s", "m", "near"),))


def _latency_ms(problem: Problem, inside: frozenset[int]) -> float:
    """Return the latency if the blocks ``inside`` stay at the source, every tensor being sent once."""
    model, (link,) = problem.models["m"], problem.links
    near, far = problem.devices["near"], problem.devices["far"]
    edges, outside = model.edges or (), set(range(6)) - inside
    fed = {reader for _, reader, _ in edges}
    sent = {maker: size for maker, reader, size in edges if maker in inside and reader in outside}
    if outside - fed:
        sent[-1] = float(model.input_bytes)
    total_ms = sum(near.block_ms["m"][block] for block in inside) + sum(far.block_ms["m"][block] for block in outside)
    total_ms += near.segment_overhead_ms if inside else 0.0
    if outside:
        total_ms += far.segment_overhead_ms + link.latency_ms + 8 * sum(sent.values()) / (1000 * link.bandwidth_mbps)
    return total_ms


def test_equals_comparing_all_closed_sets() -> None:
    rng = random.Random("minimum cut")
    inner = 0
    for _ in range(60):
        problem = _problem(rng)
        edges = problem.models["m"].edges or ()
        subsets = [frozenset(blocks) for size in range(7) for blocks in combinations(range(6), size)]
        closed = [
            inside for inside in subsets if all(maker in inside for maker, reader, _ in edges if reader in inside)
        ]
        division = cheapest_division(problem, problem.streams[0], "far")
        assert division.blocks in closed
        assert division.latency_ms == pytest.approx(_latency_ms(problem, division.blocks))
        assert division.latency_ms == pytest.approx(min(_latency_ms(problem, inside) for inside in closed))
        inner += 0 < len(division.blocks) < 6
    assert inner > 10
