"""Duan & Wu: bursts of identical jobs and mixes, JPS and HPS against their baselines."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations
from math import ceil
from random import Random
from statistics import mean

from benchmarks.branching import operator_model
from benchmarks.claims.chains import by_flops, chain, layers
from benchmarks.claims.claim import Claim
from benchmarks.claims.published import (
    ALEXNET_CONVOLUTION_SHARE,
    EXAMPLE_CUTS,
    NETWORKS_MBPS,
    PI4_FIT_MS,
    REDUCTIONS_PERCENT,
)
from benchmarks.min_cut import cheapest_division
from benchmarks.precedence import (
    schedule_by_composition,
    schedule_by_merging,
    schedule_by_sinks,
    sequence_ms,
)
from planning.problem.plan import Plan
from planning.problem.problem import Device, Link, Problem, Stream
from planning.scheduling.flow_shop import JobTimes, johnson_order, makespan_ms
from planning.scheduling.identical_jobs import ordered_makespan_ms
from planning.strategies.registry import solve, with_strategy
from shared.model.architectures import build
from shared.model.liveness import activate
from shared.model.node_cost import flops
from shared.policy import Objective, Policy

SOURCE = "paper: Duan & Wu"
JOBS = 100
CLOUD_SPEEDUP = 200.0
FITTED = ("alexnet", "mobilenetv2", "resnet18")


def claims() -> Iterator[Claim]:
    """Yield the claims of the paper that can be computed."""
    yield example()
    yield johnson()
    yield mixing()
    yield cloud_over_3g()
    yield never_worse()
    yield from table_1()
    yield googlenet_over_3g()
    yield gain_falls_with_bandwidth()
    yield mixed_models()
    yield trees()


def example() -> Claim:
    """Compare the worked example of section 3."""
    f, g = EXAMPLE_CUTS[4]
    same = makespan_ms([(f, g)] * 3)
    mixed = makespan_ms([EXAMPLE_CUTS[3], EXAMPLE_CUTS[6], EXAMPLE_CUTS[6]])
    right = round(same, 6) == 38.9 and round(mixed, 6) == 46.7
    return Claim(
        f"{SOURCE}, section 3",
        "three jobs: all at cut 4, or mixed",
        "39.2 and 46.1 ms",
        f"{same:.1f} and {mixed:.1f} ms",
        right,
    )


def johnson() -> Claim:
    """Compare Johnson's rule with all orders."""
    rng = Random(1)
    wrong = 0
    for _ in range(300):
        jobs = [(rng.uniform(0, 9), rng.uniform(0, 9)) for _ in range(rng.randint(2, 6))]
        best = min(makespan_ms([jobs[index] for index in order]) for order in permutations(range(len(jobs))))
        wrong += makespan_ms([jobs[index] for index in johnson_order(jobs)]) > best * (1 + 1e-12)
    return Claim(
        f"{SOURCE}, algorithm 1",
        "Johnson's order is optimal",
        "(Johnson 1954)",
        f"{wrong} of 300 beaten by another order",
        not wrong,
    )


def mixing() -> Claim:
    """Compare the number of jobs from which on one job at the earlier cut pays."""
    (f3, g3), (f4, g4) = EXAMPLE_CUTS[3], EXAMPLE_CUTS[4]
    predicted = ceil((f3 + g3 - 2 * g4) / (f4 - g4))
    curve: list[JobTimes] = [EXAMPLE_CUTS[3], EXAMPLE_CUTS[4]]
    pays = next(
        count
        for count in range(2, 200)
        if ordered_makespan_ms(curve, [0] + [1] * (count - 1)) < ordered_makespan_ms(curve, [1] * count) - 1e-9
    )
    return Claim(
        f"{SOURCE}, figure 15",
        "JPS's one mix equals brute force only below a number of jobs",
        "23 for their profile",
        f"{pays} with the example's values, {predicted} by the closed form",
        pays == predicted,
    )


def cloud_over_3g() -> Claim:
    """Compare the time of sending the FP32 input over 3G."""
    times = [_answer("remote_only", name, "3G", 1).predicted.latency_ms for name in FITTED]
    return Claim(
        f"{SOURCE}, figure 16a",
        "cloud only takes more than 4 s over 3G",
        "> 4000 ms",
        f"{min(times):.0f} to {max(times):.0f} ms",
        min(times) > 4000,
    )


def never_worse() -> Claim:
    """Compare JPS with its baselines for all models and networks."""
    beaten = cells = 0
    for name in PI4_FIT_MS:
        for network in NETWORKS_MBPS:
            jps = _answer("jps", name, network).cost
            others = [_answer(each, name, network).cost for each in ("dads", "local_only", "remote_only")]
            beaten += jps > min(others) * (1 + 1e-9)
            cells += 1
    return Claim(
        f"{SOURCE}, figure 16",
        "JPS is never slower than PO, local only, cloud only",
        "true in all cells",
        f"slower in {beaten} of {cells}",
        not beaten,
    )


def table_1() -> Iterator[Claim]:
    """Compare the reductions against all local (table 1)."""
    for name in FITTED:
        texts, errors = [], []
        for network, published in REDUCTIONS_PERCENT[name].items():
            local = _answer("local_only", name, network).cost
            ours = [100 * (1 - _answer(each, name, network).cost / local) for each in ("dads", "jps")]
            errors += [abs(mine - theirs) for mine, theirs in zip(ours, published, strict=True)]
            texts.append(f"{network} {ours[0]:.0f}/{ours[1]:.0f}")
        yield Claim(
            f"{SOURCE}, table 1, {name}",
            "time less than all local, PO/JPS, %",
            ", ".join(f"{network} {po:.0f}/{jps:.0f}" for network, (po, jps) in REDUCTIONS_PERCENT[name].items()),
            f"{', '.join(texts)}; mean difference {mean(errors):.1f} points (local time fitted)",
            mean(errors) <= 5,
        )


def googlenet_over_3g() -> Claim:
    """Compare the 52.83 % for GoogLeNet over 3G (table 1) with a bound for any cuts of any sets of operators."""
    caps = [_cap_percent(whole_ms) for whole_ms in (764.0, 2000.0)]
    return Claim(
        f"{SOURCE}, table 1, googlenet",
        "52.83 % less than local over 3G",
        "52.83 %",
        f"at most {caps[0]:.0f} % (local 764 ms) or {caps[1]:.0f} % (2 s), by parametric minimum cut",
        max(caps) >= 52.83,
    )


def gain_falls_with_bandwidth() -> Claim:
    """Compare the gain of JPS over PO by bandwidth (figure 17)."""
    gains = []
    for mbps in (1.1, 5.85, 18.88, 50.0, 200.0):
        po, jps = (_solved(each, _problem("alexnet", mbps, JOBS)).cost for each in ("dads", "jps"))
        gains.append(1 - jps / po)
    return Claim(
        f"{SOURCE}, figure 17",
        "JPS beats PO between 1 and 20 Mbps, with AlexNet beyond 50",
        "(curves)",
        ", ".join(f"{gain:.0%}" for gain in gains) + " at 1.1, 5.85, 18.88, 50, 200 Mbps (AlexNet)",
        min(gains) > 0,
    )


def mixed_models() -> Claim:
    """Compare strategies on the union of jobs of several models (figure 19)."""
    problem = _mix(("alexnet", "mobilenetv2", "googlenet"), NETWORKS_MBPS["4G"], 10)
    costs = [_solved(name, problem).cost / 1000 for name in ("hps", "jps", "dads")]
    return Claim(
        f"{SOURCE}, figure 19",
        "HPS beats JPS per job beats PO on a mix of three models",
        "HPS lowest",
        "{:.1f}, {:.1f}, {:.1f} s".format(*costs),
        costs[0] <= costs[1] * (1 + 1e-9) and costs[1] <= costs[2] * (1 + 1e-9),
    )


def trees() -> Claim:
    """Compare algorithm 5 with composite jobs on random trees (theorem 4)."""
    rng = Random(2)
    totals, beaten, cases = [0.0, 0.0, 0.0], 0, 2000
    for _ in range(cases):
        count = rng.randint(3, 9)
        parents = [-1, *(rng.randrange(index) for index in range(1, count))]
        inner = set(parents)
        jobs = [
            (float(rng.randint(0, 5)), 0.0 if index in inner else float(rng.randint(0, 5))) for index in range(count)
        ]
        times = [
            sequence_ms(jobs, schedule(jobs, parents))
            for schedule in (schedule_by_composition, schedule_by_merging, schedule_by_sinks)
        ]
        beaten += times[1] > times[0] + 1e-9
        totals = [total + time for total, time in zip(totals, times, strict=True)]
    return Claim(
        f"{SOURCE}, theorem 4",
        "algorithm 5 is optimal on trees",
        "(proved)",
        f"composite jobs beat it in {beaten / cases:.1%} of {cases} trees; on average they are "
        f"{1 - totals[0] / totals[2]:.1%} below algorithm 4 and {1 - totals[0] / totals[1]:.1%} below algorithm 5",
        not beaten,
    )


def _answer(strategy: str, name: str, network: str, jobs: int = JOBS) -> Plan:
    return _solved(strategy, _problem(name, NETWORKS_MBPS[network], jobs))


def _solved(strategy: str, problem: Problem) -> Plan:
    answer = solve(with_strategy(problem, strategy))
    assert isinstance(answer, Plan), answer
    return answer


def _problem(name: str, mbps: float, jobs: int) -> Problem:
    return _mix((name,), mbps, jobs)


def _mix(names: tuple[str, ...], mbps: float, jobs: int) -> Problem:
    """Return a burst of each model from one Pi 4 to a fast server."""
    times = {name: tuple(_local_ms(name)) for name in names}
    devices = {
        "pi": Device(times),
        "cloud": Device({name: tuple(each / CLOUD_SPEEDUP for each in own) for name, own in times.items()}),
    }
    streams = tuple(Stream(name, name, "pi", jobs=jobs) for name in names)
    models = {name: chain(layers(name)) for name in names}
    return Problem(models, devices, (Link("pi", "cloud", mbps),), streams, Policy(Objective.MAKESPAN))


def _local_ms(name: str) -> list[float]:
    shares: Mapping[str, float] | None = None
    if name == "alexnet":
        shares = {"conv": ALEXNET_CONVOLUTION_SHARE, "fc": 1 - ALEXNET_CONVOLUTION_SHARE}
    return by_flops(layers(name), PI4_FIT_MS[name], shares)


def _cap_percent(whole_ms: float) -> float:
    """Return the largest reduction that any mix of any closed sets of operators can reach.

    No schedule is shorter per job than the largest, over weights, of the least weighted sum of computing and sending.
    """
    active = activate(build("googlenet"))
    work = [flops(active.graph, node) for node in active.nodes]
    near_ms = [whole_ms * each / sum(work) for each in work]
    model = operator_model(active, 602_112.0)
    stream = Stream("s", "m", "pi")
    bound_ms = 0.0
    for step in range(1, 20):
        weight = step / 20
        devices = {
            "pi": Device({"m": tuple(weight * each for each in near_ms)}),
            "cloud": Device({"m": (0.0,) * len(near_ms)}),
        }
        link = Link("pi", "cloud", NETWORKS_MBPS["3G"] / (1 - weight))
        problem = replace(
            _problem("alexnet", 1.0, 1), models={"m": model}, devices=devices, links=(link,), streams=(stream,)
        )
        bound_ms = max(bound_ms, cheapest_division(problem, stream, "cloud").latency_ms)
    return 100 * (1 - bound_ms / whole_ms)
