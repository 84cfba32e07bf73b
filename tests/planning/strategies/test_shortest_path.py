"""The exact searches against brute force that is written from the definitions, not from the cost model."""

import random
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream, link_table
from planning.strategies.shortest_path import ShortestPath
from shared.policy import CodecMode, Objective, Policy


def _offers(problem: Problem, block: int) -> list[tuple[float, float, float]]:
    """Size, encoding time, decoding time of what a block may send."""
    found = problem.models["m"].blocks[block]
    raw = (found.output_bytes, 0.0, 0.0)
    coded = {name: (c.size_bytes, c.encode_ms, c.decode_ms) for name, c in found.codecs.items()}
    match problem.policy.codec:
        case CodecMode.AUTO:
            return [raw, *coded.values()]
        case CodecMode.LOSSLESS:
            return [raw]
        case mode:
            return [coded.get(str(mode), raw)]


def _fits_memory(problem: Problem, assignment: tuple[str, ...]) -> bool:
    """Every device holds the parameters of its blocks and the largest activation among them."""
    for name in set(assignment):
        own = [block for block, device in zip(problem.models["m"].blocks, assignment, strict=True) if device == name]
        need = sum(block.parameter_bytes for block in own)
        need += max(b.output_bytes if b.activation_bytes is None else b.activation_bytes for b in own)
        if need > (problem.devices[name].memory_bytes or float("inf")):
            return False
    return True


def _hops(stream: Stream, assignment: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """Block before the transfer (-1 for the input), sender and receiver of every transfer."""
    count = len(assignment)
    sends = [i for i in range(count - 1) if assignment[i] != assignment[i + 1]]
    hops = [(i, assignment[i], assignment[i + 1]) for i in sends]
    if stream.sink is not None and stream.sink != assignment[-1]:
        hops.append((count - 1, assignment[-1], stream.sink))
    if assignment[0] != stream.source:
        hops.insert(0, (-1, stream.source, assignment[0]))
    return hops


def _costs(problem: Problem) -> Iterator[tuple[float, float, float, int]]:
    """Latency, energy, bottleneck and blocks off the source of every plan that keeps the constraints."""
    stream, policy, model = problem.streams[0], problem.policy, problem.models["m"]
    links, count = link_table(problem.links), len(model.blocks)
    able = [n for n, d in problem.devices.items() if "m" in d.block_ms and n not in policy.devices.deny]
    for assignment in product(able, repeat=count):
        if policy.raw_input_stays_on_source and assignment[0] != stream.source:
            continue
        if policy.max_devices and len(set(assignment)) > policy.max_devices:
            continue
        if not _fits_memory(problem, assignment):
            continue
        hops = _hops(stream, assignment)
        if any((a, b) not in links for _, a, b in hops):
            continue
        for choice in product(*([(model.input_bytes, 0.0, 0.0)] if i < 0 else _offers(problem, i) for i, _, _ in hops)):
            computing = dict.fromkeys(problem.devices, 0.0)
            sending, transfers = dict.fromkeys(problem.devices, 0.0), 0.0
            for i, name in enumerate(assignment):
                device = problem.devices[name]
                starts = i == 0 or assignment[i - 1] != name
                computing[name] += device.load_factor * (
                    device.block_ms["m"][i] + (device.segment_overhead_ms if starts else 0.0)
                )
            energy = 0.0
            for (_, a, b), (size, encode, decode) in zip(hops, choice, strict=True):
                link = links[a, b]
                took = link.latency_ms + 8 * size / (1000 * link.bandwidth_mbps)
                sending[a] += took
                transfers += took
                sender, receiver = problem.devices[a], problem.devices[b]
                computing[a] += sender.load_factor * encode / sender.codec_speed
                computing[b] += receiver.load_factor * decode / receiver.codec_speed
                energy += (sender.power_tx_w + receiver.power_rx_w) * took / 1000
            latency = sum(computing.values()) + transfers
            if policy.deadline_ms is not None and latency > policy.deadline_ms:
                continue
            for name, time in computing.items():
                energy += (problem.devices[name].power_active_w - problem.devices[name].power_idle_w) * time / 1000
            worst = max(*computing.values(), *sending.values())
            yield latency, energy, worst, sum(name != stream.source for name in assignment)


INDEX = {Objective.LATENCY: 0, Objective.ENERGY: 1, Objective.THROUGHPUT: 2, Objective.DEADLINE: 3}


@pytest.mark.parametrize("objective", list(INDEX))
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("codecs", [False, True])
def test_equals_brute_force(
    make_problem: Callable[..., Problem], objective: Objective, constrained: bool, codecs: bool
) -> None:
    rng = random.Random(f"{objective} {constrained} {codecs}")
    solved = 0
    for _ in range(65):
        problem = make_problem(rng, objective, constrained=constrained, codecs=codecs, most_blocks=4 if codecs else 5)
        answer = ShortestPath().solve(problem, seed=0, time_budget_s=1.0)
        best = min((costs[INDEX[objective]] for costs in _costs(problem)), default=None)
        if best is None:
            assert isinstance(answer, Infeasible), problem
            assert answer.reason
            continue
        assert isinstance(answer, Plan), (problem, answer)
        assert answer.optimal
        assert answer.cost == pytest.approx(best, rel=1e-9, abs=1e-9), problem
        solved += 1
    assert solved > 15


def _crowd(deadline_ms: float | None) -> Problem:
    """Sixty streams of eight cameras, each linked to three servers."""
    rng = random.Random("crowd")
    work_ms = [rng.uniform(1, 5) for _ in range(6)]
    speeds = {f"camera{index}": rng.uniform(2, 9) for index in range(8)} | {"x": 1.0, "y": 1.3, "z": 1.6}
    devices = {name: Device({"m": tuple(slow * ms for ms in work_ms)}) for name, slow in speeds.items()}
    links = tuple(Link(f"camera{index}", server, rng.uniform(5, 90), 1.0) for index in range(8) for server in "xyz")
    model = Model(3e5, tuple(Block(f"b{index}", rng.uniform(1e3, 2e5)) for index in range(6)))
    streams = tuple(Stream(f"s{index}", "m", f"camera{rng.randrange(8)}") for index in range(60))
    policy = Policy(objective=Objective.THROUGHPUT, deadline_ms=deadline_ms)
    return Problem({"m": model}, devices, links, streams, policy)


@pytest.mark.parametrize("deadline_ms", [None, 90.0])
def test_a_crowd_is_balanced_by_loads_where_the_budget_pays_for_few_searches(deadline_ms: float | None) -> None:
    problem = _crowd(deadline_ms)
    little = ShortestPath().solve(problem, seed=0, time_budget_s=0.1)
    plenty = ShortestPath().solve(problem, seed=0, time_budget_s=10.0)
    assert isinstance(little, Plan)
    assert isinstance(plenty, Plan)
    assert little.streams != plenty.streams
    assert little.cost <= plenty.cost * 1.1
    assert violations(CostModel(problem), little.streams) == ()
