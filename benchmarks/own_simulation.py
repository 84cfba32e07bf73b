"""Costs of jobs by an event simulation that shares nothing with the cost model but the file format."""

import heapq
import math
import statistics
from collections.abc import Sequence
from typing import Any

LOSSLESS = ("raw", "zstd")

# A job: the stream, by index, and per stage (stop, device, codec).
Stages = tuple[tuple[int, str, str], ...]
Job = tuple[int, Stages]


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
