"""Benchmark of ``auto`` against simulated annealing that shares nothing with the strategies but the file format."""

import argparse
import heapq
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The command that plans a problem file, as a user runs it.
PLAN = (sys.executable, "-m", "services.cli.main", "plan")

# Time budget of ``auto``.
BUDGET_S = 1.0

# Number of problems and seconds of annealing each; the second pair is for ``--quick``.
FULL, QUICK = (400, 10.0), (21, 2.0)

OBJECTIVES = ("latency", "throughput", "energy", "makespan", "deadline", "total_delay", "delay_variance")
QUEUES = ("fifo", "fifo", "shortest_job_first", "earliest_deadline_first")
LOSSLESS = ("raw", "zstd")

# A job: the stream, by index, and per stage (stop, device, codec).
Stages = tuple[tuple[int, str, str], ...]
Job = tuple[int, Stages]

# Temperature at the beginning and at the end, relative to the present cost.
HOT, COLD = 0.15, 0.0003

# Number of restarts of the annealing.
RESTARTS = 4

# Steps of the annealing that chooses the deadline of a problem.
DEADLINE_STEPS = 8_000


def random_document(seed: int) -> dict[str, Any]:
    """Return a problem file of 4 to 20 blocks, 2 to 16 devices and 1 to 6 streams; half of them with encodings."""
    rng = random.Random(seed)
    objective = OBJECTIVES[seed % len(OBJECTIVES)]
    names = [f"d{index}" for index in range(rng.randint(2, 16))]
    has_codecs = rng.random() < 0.5
    models = {f"m{index}": _model(rng, has_codecs) for index in range(rng.randint(1, 2))}
    devices = {}
    for name in names:
        slowness = math.exp(rng.uniform(-1.0, 2.5))
        devices[name] = {
            "block_ms": {
                model: [slowness * rng.uniform(0.2, 3.0) for _ in document["blocks"]]
                for model, document in models.items()
            },
            "load_factor": rng.choice([1.0, rng.uniform(1, 3)]),
            "segment_overhead_ms": rng.choice([0.0, rng.uniform(0, 2)]),
            "power_idle_w": 1.0,
            "power_active_w": rng.uniform(2, 15),
            "power_tx_w": rng.uniform(0, 2),
            "power_rx_w": rng.uniform(0, 1),
            "codec_speed": rng.choice([1.0, rng.uniform(0.5, 4)]),
        }
    links = []
    for place, one in enumerate(names):
        for two in names[place + 1 :]:
            # A chain of links keeps the network connected.
            if two == names[place + 1] or rng.random() < 0.7:
                rate, latency = math.exp(rng.uniform(1.5, 6)), rng.uniform(0.1, 5)
                links.append({"from": one, "to": two, "bandwidth_mbps": rate, "latency_ms": latency})
    burst = objective in {"makespan", "total_delay", "delay_variance"}
    jobs = rng.choice([1, 2, 4, 8]) if burst or objective == "throughput" else 1
    streams: list[dict[str, Any]] = []
    for index in range(rng.randint(1, 6)):
        sink = rng.choice([None, rng.choice(names)])
        streams.append(
            {"name": f"s{index}", "model": rng.choice(list(models)), "source": rng.choice(names), "jobs": jobs}
        )
        if sink is not None:
            streams[-1]["sink"] = sink
    policy: dict[str, Any] = {"objective": objective, "queue": rng.choice(QUEUES)}
    policy["codec"] = rng.choice(["auto", "lossless"])
    document = {"version": 1, "models": models, "devices": devices, "links": links}
    document |= {"streams": streams, "policy": policy}
    if objective == "deadline":
        # A deadline that the quickest routes nearly need, so that some blocks must leave the source.
        world = OwnSimulation({**document, "policy": {**policy, "objective": "latency"}})
        quickest = annealed(world, Steps(DEADLINE_STEPS), random.Random(0))
        policy["deadline_ms"] = 2.0 * quickest[0] * rng.uniform(1.0, 2.0)
    return document


def _model(rng: random.Random, has_codecs: bool) -> dict[str, Any]:
    blocks = []
    size = rng.uniform(2e5, 1e6)
    for index in range(rng.randint(4, 20)):
        size *= rng.choice([0.4, 0.8, 1.0, 1.3])
        block: dict[str, Any] = {"name": f"b{index}", "output_bytes": int(size)}
        if has_codecs and rng.random() < 0.7:
            block["codecs"] = {
                "zstd": {"size_bytes": int(size * 0.8), "encode_ms": rng.uniform(0, 3), "decode_ms": rng.uniform(0, 1)},
                "uint8": {
                    "size_bytes": int(size * 0.25),
                    "encode_ms": rng.uniform(0, 3),
                    "decode_ms": rng.uniform(0, 3),
                    "relative_error": 0.01,
                    "top1_agreement": 0.99,
                },
            }
        blocks.append(block)
    return {"input_bytes": int(rng.uniform(1e5, 6e5)), "blocks": blocks}


class OwnSimulation:
    """Costs of jobs by an event simulation of its own."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.streams, self.devices = document["streams"], document["devices"]
        self.models, self.policy = document["models"], document["policy"]
        self.objective, self.queue = self.policy["objective"], self.policy["queue"]
        self.links: dict[tuple[str, str], tuple[float, float]] = {}
        for link in document["links"]:
            both = link["bandwidth_mbps"], link["latency_ms"]
            self.links[link["from"], link["to"]] = both
            self.links.setdefault((link["to"], link["from"]), both)
        self._operations: dict[Job, list[tuple[tuple[str, bool], float, float]] | None] = {}

    def codecs(self, stream: int, stop: int) -> list[str]:
        """Return the encodings that the policy allows at a cut."""
        offered = ["raw", *self.models[self.streams[stream]["model"]]["blocks"][stop - 1].get("codecs", {})]
        return offered if self.policy["codec"] == "auto" else [codec for codec in offered if codec in LOSSLESS]

    def operations(self, job: Job) -> list[tuple[tuple[str, bool], float, float]] | None:
        """Return (device and whether it sends, ms, watts) of every operation; None if the route cannot be taken."""
        if job not in self._operations:
            self._operations[job] = self._made(*job)
        return self._operations[job]

    def _made(self, index: int, stages: Stages) -> list[tuple[tuple[str, bool], float, float]] | None:
        stream = self.streams[index]
        model = self.models[stream["model"]]
        operations: list[tuple[tuple[str, bool], float, float]] = []

        def send(one: str, two: str, size: float) -> bool:
            if (one, two) not in self.links:
                return False
            rate, latency = self.links[one, two]
            watts = self.devices[one]["power_tx_w"] + self.devices[two]["power_rx_w"]
            operations.append(((one, True), latency + size * 8 / (rate * 1000), watts))
            return True

        def compute(name: str, plain_ms: float, coding_ms: float) -> None:
            device = self.devices[name]
            time_ms = device["load_factor"] * (plain_ms + coding_ms / device["codec_speed"])
            operations.append(((name, False), time_ms, device["power_active_w"] - device["power_idle_w"]))

        here, start, decode = stream["source"], 0, 0.0
        if stages[0][1] != here and not send(here, stages[0][1], model["input_bytes"]):
            return None
        for place, (stop, here, codec) in enumerate(stages):
            device = self.devices[here]
            there = stages[place + 1][1] if place + 1 < len(stages) else stream.get("sink") or here
            block = model["blocks"][stop - 1]
            plain = sum(device["block_ms"][stream["model"]][start:stop]) + device["segment_overhead_ms"]
            coded = {"size_bytes": block["output_bytes"], "encode_ms": 0.0, "decode_ms": 0.0}
            if there != here and codec != "raw":
                coded = block["codecs"][codec]
            compute(here, plain, decode + (coded["encode_ms"] if there != here else 0.0))
            decode = coded["decode_ms"] if there != here else 0.0
            if there != here and not send(here, there, coded["size_bytes"]):
                return None
            start = stop
        if decode and stream.get("sink"):
            compute(stream["sink"], 0.0, decode)
        deadline = self.policy.get("deadline_ms")
        if deadline is not None and sum(time_ms for _, time_ms, _ in operations) > deadline * (1 + 1e-9):
            return None
        return operations

    def cost(self, jobs: Sequence[Job]) -> float:
        """Return the cost of the jobs in their starting order; inf if one of them cannot run."""
        chains = [self.operations(job) for job in jobs]
        known = [chain for chain in chains if chain is not None]
        if len(known) < len(jobs):
            return math.inf
        count = len(jobs)
        match self.objective:
            case "latency":
                return sum(time_ms for chain in known for _, time_ms, _ in chain) / count
            case "energy":
                return sum(time_ms * watts for chain in known for _, time_ms, watts in chain) / 1000 / count
            case "deadline":
                return sum(self._away(*job) for job in jobs) / count
            case "throughput":
                busy: dict[tuple[str, bool], float] = {}
                for chain in known:
                    for server, time_ms, _ in chain:
                        busy[server] = busy.get(server, 0.0) + time_ms
                return max(busy.values()) / count
        ends = self._ends(known)
        if self.objective == "makespan":
            return max(ends)
        if self.objective == "total_delay":
            return sum(ends)
        return statistics.pvariance(ends)

    def _away(self, index: int, stages: Stages) -> int:
        away, start = 0, 0
        for stop, device, _ in stages:
            away += (stop - start) * (device != self.streams[index]["source"])
            start = stop
        return away

    def _ends(self, chains: Sequence[list[tuple[tuple[str, bool], float, float]]]) -> list[float]:
        """Return when every job ends. At one instant jobs arrive in their order before any server begins."""
        ends = [0.0] * len(chains)
        queues: dict[tuple[str, bool], list[tuple[float, int, int, int]]] = {}
        busy: set[tuple[str, bool]] = set()
        events: list[tuple[float, int, int]] = [(0.0, job, -1) for job in range(len(chains))]
        number = 0
        while events:
            now = events[0][0]
            touched = []
            while events and events[0][0] == now:
                _, job, done = heapq.heappop(events)
                if done >= 0:
                    busy.discard(chains[job][done][0])
                    touched.append(chains[job][done][0])
                if done + 1 == len(chains[job]):
                    ends[job] = now
                    continue
                server, time_ms, _ = chains[job][done + 1]
                # All jobs have the same deadline, so that the earliest is served first come, first served.
                rank = time_ms if self.queue == "shortest_job_first" and not server[1] else 0.0
                number += 1
                heapq.heappush(queues.setdefault(server, []), (rank, number, job, done + 1))
                touched.append(server)
            for server in touched:
                if server not in busy and queues.get(server):
                    _, _, job, step = heapq.heappop(queues[server])
                    busy.add(server)
                    heapq.heappush(events, (now + chains[job][step][1], job, step))
        return ends


class Steps:
    """Progress of an annealing of a fixed number of steps, whose result does not depend on the machine."""

    def __init__(self, steps: int) -> None:
        self._steps, self._done = steps, -1

    def share(self) -> float:
        """Count a step; return the share of all steps that are done."""
        self._done += 1
        return self._done / self._steps


class ProcessorTime:
    """Progress of an annealing of a fixed processor time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._began_s = seconds, time.process_time()
        self._calls, self._share = 0, 0.0

    def share(self) -> float:
        """Return the share of the time that has passed, as of one of the last 20 calls."""
        if self._calls % 20 == 0:
            self._share = (time.process_time() - self._began_s) / self._seconds
        self._calls += 1
        return self._share


def annealed(world: OwnSimulation, progress: Steps | ProcessorTime, rng: random.Random) -> tuple[float, list[Job]]:
    """Return the best jobs that annealing finds, and their cost."""
    best: tuple[float, list[Job]] = (math.inf, [])
    share = progress.share()
    for restart in range(RESTARTS):
        # The restarts take equal shares of what is left.
        start, length = share, (1.0 - share) / (RESTARTS - restart)
        jobs = best[1] if restart == RESTARTS - 1 and best[1] else _random_jobs(world, rng)
        cost = world.cost(jobs)
        while share < start + length:
            temperature = HOT * (COLD / HOT) ** ((share - start) / length)
            changed = _neighbour(world, jobs, rng)
            value = world.cost(changed)
            if value <= cost or (value < math.inf and rng.random() < math.exp(-(value / cost - 1) / temperature)):
                jobs, cost = changed, value
                if cost < best[0]:
                    best = cost, jobs
            if best[0] == 0:
                return best
            share = progress.share()
    return best


def _random_jobs(world: OwnSimulation, rng: random.Random) -> list[Job]:
    """Return jobs that run where they arise, or on one device each, in random order."""
    jobs: list[Job] = []
    for index, stream in enumerate(world.streams):
        blocks = len(world.models[stream["model"]]["blocks"])
        names = [stream["source"], *world.devices]
        routes: list[Job] = [(index, ((blocks, name, "raw"),)) for name in names]
        possible = [job for job in routes if world.operations(job) is not None] or routes[:1]
        jobs += [rng.choice(possible) for _ in range(stream["jobs"])]
    rng.shuffle(jobs)
    return jobs


def _neighbour(world: OwnSimulation, jobs: Sequence[Job], rng: random.Random) -> list[Job]:
    """Return the jobs in another order, or with blocks of one of them, or of all on its route, on another device."""
    changed = list(jobs)
    place = rng.randrange(len(jobs))
    if len(jobs) > 1 and rng.random() < 0.3:
        changed.insert(rng.randrange(len(jobs)), changed.pop(place))
        return changed
    index, stages = jobs[place]
    if rng.random() < 0.2:
        new = rng.choice([own for own in jobs if own[0] == index])
    else:
        devices: list[str] = []
        codecs: dict[int, str] = {}
        for stop, device, codec in stages:
            devices += [device] * (stop - len(devices))
            codecs[stop] = codec
        start = rng.randrange(len(devices))
        stop = min(len(devices), start + 1 + int(len(devices) * rng.random() ** 2))
        if rng.random() < 0.8:
            name = rng.choice(list(world.devices)) if rng.random() < 0.7 else rng.choice(devices)
            devices[start:stop] = [name] * (stop - start)
        cuts = [cut for cut in range(1, len(devices)) if devices[cut] != devices[cut - 1]] + [len(devices)]
        redrawn = rng.choice(cuts)
        codecs[redrawn] = rng.choice(world.codecs(index, redrawn))
        for cut in cuts:
            if cut not in codecs:
                codecs[cut] = rng.choice(world.codecs(index, cut))
        new = index, tuple((cut, devices[cut - 1], codecs[cut]) for cut in cuts)
    together = rng.random() < 0.2
    for other, job in enumerate(jobs):
        if other == place or (together and job == jobs[place]):
            changed[other] = new
    return changed


def planned(document: dict[str, Any]) -> dict[str, Any]:
    """Return the plan file of ``auto`` at BUDGET_S, by the command line, and its processor time as ``cpu_s``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.json"
        path.write_text(json.dumps(document))
        command = [*PLAN, str(path), "--json", "--time-budget-s", str(BUDGET_S)]
        before_s = _children_s()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    plan: dict[str, Any] = json.loads(done.stdout)
    return {**plan, "cpu_s": _children_s() - before_s}


def _children_s() -> float:
    """Return the processor time of all processes that have been started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Annealings:
    """The costs that annealing has found, kept in a file of JSON lines, so that a long run can be resumed."""

    def __init__(self, seconds: float, path: Path | None) -> None:
        self._seconds, self._path = seconds, path
        self._costs: dict[int, float | None] = {}
        if path is not None and path.exists():
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            self._costs = {row["seed"]: row["annealing"] for row in rows if row["seconds"] == seconds}

    def cost(self, seed: int, document: dict[str, Any]) -> float | None:
        """Return the cost of the best jobs, None if there are none; anneal if the file does not have it."""
        if seed not in self._costs:
            best = annealed(OwnSimulation(document), ProcessorTime(self._seconds), random.Random(seed))[0]
            self._costs[seed] = best if best < math.inf else None
            if self._path is not None:
                row = {"seed": seed, "seconds": self._seconds, "annealing": self._costs[seed]}
                with self._path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        return self._costs[seed]


def compare(seeds: Sequence[int], annealings: Annealings, *, only_annealing: bool = False) -> list[dict[str, Any]]:
    """Return one row per problem: the costs of ``auto`` and of annealing, and whether the plan is proved."""
    rows = []
    for seed in seeds:
        document = random_document(seed)
        row = {"seed": seed, "objective": document["policy"]["objective"], "annealing": annealings.cost(seed, document)}
        if not only_annealing:
            plan = planned(document)
            cost = plan.get("cost") if plan["feasible"] else None
            rows.append({**row, "auto": cost, **{key: plan.get(key) for key in ("optimal", "solve_ms", "cpu_s")}})
    return rows


def ratio(row: dict[str, Any]) -> float | None:
    """Return the cost of ``auto`` over the best known; None where neither has a plan."""
    costs = [cost for cost in (row["auto"], row["annealing"]) if cost is not None]
    if not costs:
        return None
    if row["auto"] is None:
        return math.inf
    least = min(costs)
    if row["objective"] == "delay_variance":
        # Standard deviations, which have the unit of a delay.
        return math.sqrt(row["auto"] / least) if least > 0 else (1.0 if row["auto"] <= 1e-9 else math.inf)
    return row["auto"] / least if least > 0 else (1.0 if row["auto"] <= 1e-9 else math.inf)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean, 90th percentile and largest ratio, and the number of proofs, per objective."""
    result: dict[str, dict[str, Any]] = {}
    for objective in OBJECTIVES:
        own = [row for row in rows if row["objective"] == objective]
        ratios = sorted(value for row in own if (value := ratio(row)) is not None)
        if ratios:
            result[objective] = {
                "problems": len(ratios),
                "mean": statistics.fmean(ratios),
                "p90": ratios[min(len(ratios) - 1, math.ceil(0.9 * len(ratios)) - 1)],
                "worst": ratios[-1],
                "proved": sum(bool(row["optimal"]) for row in own),
                "median_cpu_s": statistics.median(row["cpu_s"] for row in own),
                "slowest_cpu_s": max(row["cpu_s"] for row in own),
            }
    return result


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few problems, 2 s of annealing each")
    parser.add_argument("--problems", type=int)
    parser.add_argument("--first", type=int, default=0, help="seed of the first problem")
    parser.add_argument("--annealed", type=Path, help="file of annealing's costs: known ones are read, new ones added")
    parser.add_argument("--only-annealing", action="store_true", help="fill that file and end")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    problems, seconds = QUICK if options.quick else FULL
    seeds = range(options.first, options.first + (options.problems or problems))
    rows = compare(seeds, Annealings(seconds, options.annealed), only_annealing=options.only_annealing)
    if options.only_annealing:
        return
    table = summary(rows)
    print(f"{'objective':16} problems   mean    p90  worst  proved  processor s (median, most)")
    for objective, row in table.items():
        numbers = f"{row['mean']:6.3f} {row['p90']:6.3f} {row['worst']:6.3f}"
        times = f"{row['median_cpu_s']:7.2f} {row['slowest_cpu_s']:7.2f}"
        print(f"{objective:16} {row['problems']:8} {numbers} {row['proved']:7} {times}")
    if options.out:
        options.out.write_text(json.dumps({"summary": table, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
