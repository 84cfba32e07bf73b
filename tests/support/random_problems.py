"""Random planning problems of one stream."""

import random
from itertools import product

from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, Stream
from shared.policy import CodecMode, DeviceRule, Objective, Policy


def random_problem(
    rng: random.Random,
    objective: Objective,
    *,
    constrained: bool = False,
    codecs: bool = False,
    most_devices: int = 3,
    most_blocks: int = 5,
) -> Problem:
    """A small problem with a single stream; about one link in six is missing, about one device in six cannot run."""
    names = [f"d{index}" for index in range(rng.randint(2, most_devices))]
    count = rng.randint(1, most_blocks)
    blocks = tuple(
        Block(
            f"b{index}",
            rng.choice([0, rng.randint(1, 500_000)]),
            parameter_bytes=rng.randint(0, 1000),
            activation_bytes=rng.choice([None, rng.randint(0, 500)]),
            codecs={
                name: CodecProfile(rng.randint(0, 200_000), rng.uniform(0, 3), rng.uniform(0, 3))
                for name in ("int8", "float16")
                if codecs and rng.random() < 0.6
            },
        )
        for index in range(count)
    )
    devices = {
        name: Device(
            {"m": tuple(rng.uniform(0, 30) for _ in blocks)} if rng.random() < 0.85 else {},
            load_factor=rng.choice([1.0, rng.uniform(0.5, 4)]),
            segment_overhead_ms=rng.choice([0.0, rng.uniform(0, 5)]),
            memory_bytes=rng.randint(200, 502_000) if constrained and rng.random() < 0.5 else None,
            power_idle_w=1.0,
            power_active_w=rng.uniform(1, 10),
            power_tx_w=rng.uniform(0, 2),
            power_rx_w=rng.uniform(0, 2),
            codec_speed=rng.uniform(0.5, 2),
        )
        for name in names
    }
    links = tuple(
        Link(a, b, rng.uniform(5, 500), rng.uniform(0, 5))
        for a, b in product(names, names)
        if a != b and rng.random() < 0.6
    )
    policy = Policy(objective=objective)
    if constrained:
        policy = Policy(
            objective=objective,
            deadline_ms=rng.choice([None, rng.uniform(20, 150)]),
            devices=DeviceRule(deny=tuple(name for name in names if rng.random() < 0.1)),
            raw_input_stays_on_source=rng.random() < 0.4,
            max_devices=rng.choice([None, 1, 2]),
            codec=rng.choice(list(CodecMode)),
        )
    elif objective is Objective.DEADLINE:
        policy = Policy(objective=objective, deadline_ms=rng.uniform(20, 150))
    stream = Stream("s", "m", names[0], rng.choice([None, rng.choice(names)]))
    return Problem({"m": Model(rng.randint(0, 500_000), blocks)}, devices, links, (stream,), policy)
