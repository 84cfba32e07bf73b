"""Duan & Wu: bursts of identical jobs and mixes, JPS and HPS against their baselines."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations_with_replacement, permutations, product
from random import Random
from statistics import mean

import numpy as np

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
from planning.scheduling.burst_planning import burst_curves
from planning.scheduling.flow_shop import JobTimes, johnson_order, makespan_ms
from planning.scheduling.identical_jobs import best_cuts, jps_cuts, ordered_makespan_ms
from planning.search.device_network import DeviceNetwork
from planning.search.two_device_splits import split_table
from planning.strategies.registry import solve, with_strategy
from shared.model.architectures import build
from shared.model.liveness import activate
from shared.model.node_cost import flops
from shared.policy import Objective, Policy

SOURCE = "paper: Duan & Wu"
JOBS = 100
CLOUD_SPEEDUP = 200.0
FITTED = ("alexnet", "mobilenetv2", "resnet18")
# Algorithm 2 with the ratio floored, and nothing beside it.
PRINTED = "jps:as_printed"
BANDWIDTHS_MBPS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 20.0, 35.0, 50.0, 65.0, 80.0)
MIXED_JOBS = 10
# Smallest share that counts as less time.
LEAST_GAIN = 0.01


def claims() -> Iterator[Claim]:
    """Yield the claims of the paper that can be computed."""
    yield example()
    yield johnson()
    yield jobs_until_jps_is_beaten()
    yield synthetic_alexnet()
    yield cloud_over_3g()
    yield never_worse()
    yield from table_1()
    yield googlenet_over_3g()
    yield from gain_by_bandwidth()
    yield from mixed_models()
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


def jobs_until_jps_is_beaten() -> Claim:
    """Compare JPS as printed with every mix of the cuts, by the number of jobs (figure 15, AlexNet)."""
    curve: list[JobTimes] = [EXAMPLE_CUTS[3], EXAMPLE_CUTS[4], EXAMPLE_CUTS[6]]
    first = next(count for count in range(2, 200) if _excess(curve, count) > 1e-9)
    fitted = {}
    for network, mbps in NETWORKS_MBPS.items():
        problem = _problem("alexnet", mbps, 2)
        (whole,) = burst_curves(split_table(problem, problem.streams[0], DeviceNetwork(problem))).values()
        kept = [whole.jobs[place] for place in whole.blocks()]
        # The mixes of `best_cuts` are some of all: what beats JPS here beats it by brute force, too.
        fitted[network] = next(
            (
                count
                for count in range(2, 100)
                if ordered_makespan_ms(kept, best_cuts(kept, count))
                < ordered_makespan_ms(kept, jps_cuts(kept, count, floor_ratio=True)) * (1 - 1e-9)
            ),
            100,
        )
    return Claim(
        f"{SOURCE}, figure 15, AlexNet",
        "JPS equals brute force for fewer than 23 jobs",
        "23 jobs",
        f"first beaten at {first} jobs with the three printed cuts; with all cuts and the fitted times at "
        + ", ".join(f"{count} ({network})" for network, count in fitted.items()),
        min(first, *fitted.values()) >= 23,
        "other: the paper prints three cuts only, and not the network",
    )


def synthetic_alexnet() -> Claim:
    """Compare JPS as printed with every mix of eight cuts whose times lie on fitted curves (figure 15, AlexNet')."""
    layers_of, f, g = np.array(list(EXAMPLE_CUTS)), *np.array(list(EXAMPLE_CUTS.values())).T
    slope, start = np.polyfit(layers_of, f, 1)
    fall, height = np.polyfit(layers_of, np.log(g), 1)
    # The line of f is negative before the first layers, where nothing is computed yet.
    curve = [(max(0.0, float(start + slope * cut)), float(np.exp(height + fall * cut))) for cut in range(1, 9)]
    counts = (2, 3, 4, 6, 8)
    excess = [_excess(curve, count) for count in counts]
    beaten = [count for count, share in zip(counts, excess, strict=True) if share > 1e-9]
    return Claim(
        f"{SOURCE}, figure 15, AlexNet'",
        "with communication times on a fitted curve JPS always equals brute force",
        "always",
        f"beaten for {', '.join(map(str, beaten)) or 'none'} of {', '.join(map(str, counts))} jobs, "
        f"by up to {max(excess):.1%}",
        not beaten,
        "other: eight cuts on curves through the three printed ones; the paper prints neither curve",
    )


def _excess(curve: list[JobTimes], jobs: int) -> float:
    """Return by which share JPS as printed exceeds the best of all mixes of the cuts, each in Johnson's order."""
    ours = ordered_makespan_ms(curve, jps_cuts(curve, jobs, floor_ratio=True))
    mixes = combinations_with_replacement(range(len(curve)), jobs)
    return ours / min(ordered_makespan_ms(curve, list(mix)) for mix in mixes) - 1


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
    """Compare JPS as printed with its baselines for all models and networks."""
    beaten = {"one after the other": 0, "pipelined": 0}
    cells = 0
    for name, network in product(PI4_FIT_MS, NETWORKS_MBPS):
        jps = _answer(PRINTED, name, network).cost
        bounds = min(_answer(each, name, network).cost for each in ("local_only", "remote_only"))
        for reading in beaten:
            po = _po_ms(_problem(name, NETWORKS_MBPS[network], JOBS), is_pipelined=reading == "pipelined")
            beaten[reading] += jps > min(bounds, po) * (1 + 1e-9)
        cells += 1
    return Claim(
        f"{SOURCE}, figure 16",
        "JPS is never slower than PO, local only, cloud only",
        "true in all cells",
        ", ".join(f"slower in {count} of {cells} with PO's jobs {reading}" for reading, count in beaten.items()),
        not any(beaten.values()),
        "easier: the local times are those that fit table 1 best",
    )


def table_1() -> Iterator[Claim]:
    """Compare the reductions against all local (table 1): JPS as printed, and PO's jobs one after the other."""
    for name in FITTED:
        texts, errors = _reductions(name, PRINTED, is_pipelined=False)
        others = {
            "PO pipelined": _reductions(name, PRINTED, is_pipelined=True)[1],
            "JPS with the exact ratio": _reductions(name, "jps", is_pipelined=False)[1],
            "both": _reductions(name, "jps", is_pipelined=True)[1],
        }
        readings = ", ".join(f"{mean(each):.1f} with {reading}" for reading, each in others.items())
        yield Claim(
            f"{SOURCE}, table 1, {name}",
            "time less than all local, PO/JPS, %",
            ", ".join(f"{network} {po:.0f}/{jps:.0f}" for network, (po, jps) in REDUCTIONS_PERCENT[name].items()),
            f"{', '.join(texts)}; mean difference {mean(errors):.1f} points ({readings})",
            mean(errors) <= 5,
            "easier: the local time is the one that fits best",
        )


def _reductions(name: str, jps: str, *, is_pipelined: bool) -> tuple[list[str], list[float]]:
    """Return the reductions of PO and JPS as text per network, and their differences from the table in points."""
    texts, errors = list[str](), list[float]()
    for network, published in REDUCTIONS_PERCENT[name].items():
        local = _answer("local_only", name, network).cost
        po = _po_ms(_problem(name, NETWORKS_MBPS[network], JOBS), is_pipelined=is_pipelined)
        ours = [100 * (1 - each / local) for each in (po, _answer(jps, name, network).cost)]
        errors += [abs(mine - theirs) for mine, theirs in zip(ours, published, strict=True)]
        texts.append(f"{network} {ours[0]:.0f}/{ours[1]:.0f}")
    return texts, errors


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


def gain_by_bandwidth() -> Iterator[Claim]:
    """Compare JPS as printed with the best of its baselines by bandwidth (figure 17)."""
    for name in ("alexnet", "mobilenetv2"):
        gains = {mbps: _gain(name, mbps) for mbps in BANDWIDTHS_MBPS}
        inside = [gain for mbps, gain in gains.items() if mbps <= 20]
        beyond = [gain for mbps, gain in gains.items() if mbps > 50]
        is_wide = name == "alexnet"
        yield Claim(
            f"{SOURCE}, figure 17, {name}",
            "JPS beats LO, CO and PO from 1 to 20 Mbps" + (", and beyond 50" if is_wide else ""),
            "(curves)",
            ", ".join(f"{gain:.0%}" for gain in gains.values())
            + f" at {', '.join(f'{mbps:g}' for mbps in gains)} Mbps",
            min(inside) > LEAST_GAIN and (not is_wide or min(beyond) > LEAST_GAIN),
            "easier: fitted local time, and PO's jobs run one after the other",
        )


def _gain(name: str, mbps: float) -> float:
    """Return by which share JPS as printed is below the best of LO, CO and PO."""
    problem = _problem(name, mbps, JOBS)
    others = [_solved(each, problem).cost for each in ("local_only", "remote_only")]
    return 1 - _solved(PRINTED, problem).cost / min(*others, _po_ms(problem, is_pipelined=False))


def mixed_models() -> Iterator[Claim]:
    """Compare strategies on an equal mix of jobs of three models, in every network (figure 19)."""
    for network, mbps in NETWORKS_MBPS.items():
        problem = _mix(("alexnet", "mobilenetv2", "googlenet"), mbps, MIXED_JOBS)
        alone = [_mix((stream.model,), mbps, MIXED_JOBS) for stream in problem.streams]
        hps = _solved("hps", problem).cost
        others = {
            "JPS": sum(_solved(PRINTED, each).cost for each in alone),
            "PO": sum(_po_ms(each, is_pipelined=False) for each in alone),
            "JPS together": _solved(PRINTED, problem).cost,
            "PO together": _solved("dads", problem).cost,
        }
        yield Claim(
            f"{SOURCE}, figure 19, {network}",
            "HPS takes significantly less time than JPS and PO for every model by itself",
            "HPS lowest",
            f"HPS {hps / 1000:.1f} s, " + ", ".join(f"{each} {cost / 1000:.1f}" for each, cost in others.items()),
            hps < (1 - LEAST_GAIN) * min(others.values()),
            f"other: {MIXED_JOBS} jobs per model, GoogLeNet's local time is a guess; both as bursts one after the "
            "other and with all jobs together",
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


def _po_ms(problem: Problem, *, is_pipelined: bool) -> float:
    """Return the time of PO in ms: DADS's cut for all jobs. Without a pipeline they run one after the other."""
    answer = _solved("dads", problem)
    jobs = sum(stream.jobs for stream in problem.streams)
    return answer.cost if is_pipelined else jobs * answer.predicted.latency_ms


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
