"""Claims of Masud's proposal, with the measurements that were published later (ParetoPipe)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from benchmarks.claims.claim import Claim
from benchmarks.claims.published import PI4_BEST_SPLIT, PI4_HEAD_MS, PI4_WHOLE_MS
from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.device_network import DeviceNetwork
from planning.search.two_device_splits import split_table
from planning.strategies.registry import solve, with_strategy
from shared.policy import Objective, Policy

LAN_MBPS = 939.0
TYPICAL_BYTES = 400_000.0


def claims() -> Iterator[Claim]:
    """Yield the claims that can be computed."""
    yield best_splits()
    yield pipelining()
    yield adaptivity()


def best_splits() -> Claim:
    """Compare the measured best splits with those of the fastest slowest stage."""
    near, splits = 0, []
    for name, published in PI4_BEST_SPLIT.items():
        split = _best_cut(_two_pis(name, Objective.THROUGHPUT)).streams["camera"].routes[0].stages[0].stop
        near += abs(split - published) <= 1
        splits.append(f"{name} {split} ({published})")
    return Claim(
        "ParetoPipe, best splits of two Pi 4",
        "the best rate is at the smallest largest stage, within one block",
        ", ".join(f"{name} {split}" for name, split in PI4_BEST_SPLIT.items()),
        f"{near} of {len(PI4_BEST_SPLIT)}: {', '.join(splits)}",
        near == len(PI4_BEST_SPLIT),
        "other: every boundary has the same number of bytes; the data set lacks them",
    )


def pipelining() -> Claim:
    """Compare the gain of overlapping two stages.

    Two balanced stages nearly double the rate. The rest of the published gain comes from the baseline.
    """
    answer = _best_cut(_two_pis("mobilenetv2", Objective.THROUGHPUT))
    gain = (answer.predicted.throughput_hz or 0.0) * answer.predicted.latency_ms / 1000
    return Claim(
        "ParetoPipe, RPC of MobileNetV2",
        "pipelined beats sequential by more than 1.5 times",
        "2.17 to 13.85 img/s (6.4 x)",
        f"{gain:.2f} x; two stages and a link cannot give more than 3 x",
        gain >= 1.5,
        "easier: without the overhead of RPC; 1.5 times is asked of 6.4",
    )


def adaptivity() -> Claim:
    """Compare adaptive cuts with the best fixed cut under changing conditions."""
    means = []
    for name in ("alexnet", "resnet18", "mobilenetv2"):
        base = _two_pis(name, Objective.LATENCY, speedup=20.0)
        conditions = [_changed(base, mbps, load) for mbps, load in product((939.0, 95.0, 5.0, 1.0), (1.0, 5.0))]
        cuts = split_table(base, base.streams[0], DeviceNetwork(base))
        fixed = {
            route: [CostModel(each).latency_ms(each.streams[0], route) for each in conditions]
            for route in map(cuts.route, range(len(cuts.cut)))
        }
        best_fixed = min(sum(times) for times in fixed.values())
        adaptive = sum(min(times[index] for times in fixed.values()) for index in range(len(conditions)))
        means.append(1 - adaptive / best_fixed)
    return Claim(
        "Masud, expected result",
        "adaptive partitioning beats the best static one under steps of load and bandwidth",
        "(no figures)",
        ", ".join(f"{gain:.0%}" for gain in means) + " less mean latency for AlexNet, ResNet18, MobileNetV2",
        all(gain > 0 for gain in means) and max(means) >= 0.15,
        "easier: the adaptive cut knows every condition at once and at no cost",
    )


def _best_cut(problem: Problem) -> Plan:
    """Return the plan of the one cut with the least largest stage."""
    answer = solve(with_strategy(problem, "dads:heavy_load"))
    assert isinstance(answer, Plan)
    return answer


def _two_pis(name: str, objective: Objective, speedup: float = 1.0) -> Problem:
    """Return two devices with a Pi 4's measured times; the second is so many times faster."""
    times = _steps(PI4_HEAD_MS[name], PI4_WHOLE_MS[name])
    blocks = tuple(Block(f"part{index + 1}", TYPICAL_BYTES) for index in range(len(times)))
    devices = {
        "pi": Device({"m": tuple(times)}),
        "other": Device({"m": tuple(each / speedup for each in times)}),
    }
    link = Link("pi", "other", LAN_MBPS, 1.0)
    return Problem({"m": Model(602_112, blocks)}, devices, (link,), (Stream("camera", "m", "pi"),), Policy(objective))


def _steps(heads: Sequence[float], whole_ms: float) -> list[float]:
    """Return the time of every part in ms; 0 where noise makes a longer head faster."""
    rising, high = [], 0.0
    for head in (*heads, whole_ms):
        rising.append(max(0.0, head - high))
        high = max(high, head)
    return rising


def _changed(problem: Problem, mbps: float, load: float) -> Problem:
    devices = {**problem.devices, "other": replace(problem.devices["other"], load_factor=load)}
    return replace(problem, devices=devices, links=(replace(problem.links[0], bandwidth_mbps=mbps),))
