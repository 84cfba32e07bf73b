"""Random problem files for the comparison of ``auto`` with annealing."""

import math
import random
from typing import Any

from benchmarks.annealed_jobs import Steps, annealed
from benchmarks.own_simulation import OwnSimulation

OBJECTIVES = ("latency", "throughput", "energy", "makespan", "deadline", "total_delay", "delay_variance")
QUEUES = ("fifo", "fifo", "shortest_job_first", "earliest_deadline_first")

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
