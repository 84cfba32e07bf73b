"""Random problems that are small enough for brute force, one of every combination of features."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, RowProfile, Stream
from shared.policy import CodecMode, DeviceRule, Objective, Policy, QueueDiscipline

# Objectives whose cost depends on the order of queues.
_QUEUED = (Objective.MAKESPAN, Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE)


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a random problem; each of the flags doubles the kinds of problem."""

    objective: Objective
    queue: QueueDiscipline
    sink: bool
    deadline: bool
    memory: bool
    shared: bool
    encodings: bool
    rows: bool


def every_combination(objective: Objective) -> Iterator[Features]:
    """Yield every combination of features; where queues do not count, disciplines take turns."""
    disciplines = list(QueueDiscipline)
    for place, flags in enumerate(product((False, True), repeat=6)):
        queues = disciplines if objective in _QUEUED else [disciplines[place % len(disciplines)]]
        for queue in queues:
            yield Features(objective, queue, *flags)


def small_problem(rng: random.Random, features: Features) -> Problem:
    """Return a random problem with one or two streams, two or three devices and at most three blocks per model."""
    names = [f"d{index}" for index in range(rng.choice((2, 2, 3)) if features.rows else rng.choice((2, 3, 3)))]
    most_blocks = 2 if features.rows or features.encodings else 3
    own = ("m",) if features.shared else ("m", "n")
    models = {name: _model(rng, features, rng.randint(1, most_blocks)) for name in own}
    devices = {name: _device(rng, features, models, able=0.9) for name in names}
    links = []
    for near, far in combinations(names, 2):
        if rng.random() < 0.85:
            links.append(Link(near, far, 10 ** rng.uniform(0, 3), rng.choice((0.0, rng.uniform(0, 20)))))
            if rng.random() < 0.2:
                links.append(Link(far, near, 10 ** rng.uniform(0, 3), rng.uniform(0, 5)))
    count = 2 if features.shared else rng.choice((1, 1, 2))
    jobs = rng.choice(((1, 1), (1, 2), (2, 1), (1, 1))) if count == 2 else (rng.randint(1, 3),)
    streams = tuple(
        Stream(
            f"s{place}",
            own[place % len(own)],
            rng.choice(names),
            rng.choice(names) if features.sink else None,
            jobs[place],
            deadline_ms=10 ** rng.uniform(0.5, 3) if features.deadline and rng.random() < 0.5 else None,
        )
        for place in range(count)
    )
    policy = Policy(
        objective=features.objective,
        queue=features.queue,
        deadline_ms=10 ** rng.uniform(1, 3) if features.deadline else None,
        max_devices=rng.choice((None, None, None, 1, 2)),
        raw_input_stays_on_source=rng.random() < 0.15,
        devices=DeviceRule(deny=(rng.choice(names),) if rng.random() < 0.1 else ()),
        codec=rng.choice(list(CodecMode)) if features.encodings else CodecMode.AUTO,
    )
    return Problem(models, devices, tuple(links), streams, policy)


def _model(rng: random.Random, features: Features, blocks: int) -> Model:
    heights = _rows(rng, blocks)
    own = tuple(
        Block(
            f"{rng.choice(('conv', 'pool'))}{index}",
            rng.choice((0, 10 ** rng.uniform(2, 6))),
            parameter_bytes=rng.choice((0, rng.randint(1, 1000))),
            activation_bytes=rng.randint(0, 300),
            codecs={
                name: CodecProfile(10 ** rng.uniform(2, 5), rng.uniform(0, 3), rng.uniform(0, 3), 0.0, 1.0)
                for name in ("int8", "float16")
                if features.encodings and rng.random() < 0.6
            },
            rows=heights[index] if features.rows and rng.random() < 0.8 else None,
        )
        for index in range(blocks)
    )
    return Model(10 ** rng.uniform(2, 6), own)


def _rows(rng: random.Random, blocks: int) -> list[RowProfile]:
    """Return row data of neighbouring blocks, in which every row of an output needs some row of the input."""
    height, profiles = rng.choice((2, 2, 3, 4)), []
    for index in range(blocks):
        stride = 2 if index and height == 4 and rng.random() < 0.5 else 1
        height //= stride
        kernel = rng.choice((1, 1, 2, 3))
        profiles.append(RowProfile(height, kernel, stride, rng.randint(0, (kernel - 1) // 2)))
    return profiles


def _device(rng: random.Random, features: Features, models: dict[str, Model], able: float) -> Device:
    scale = 10 ** rng.uniform(-0.5, 2)
    times = {
        name: tuple(rng.choice((0.0, 1.0, 1.0, 1.0)) * rng.uniform(0.2, 2) * scale for _ in model.blocks)
        for name, model in models.items()
        if rng.random() < able
    }
    row_ms = {
        name: tuple(((1, time_ms * rng.uniform(0.1, 1.0)),) if block.rows else None for time_ms, block in pairs)
        for name, pairs in ((name, list(zip(own, models[name].blocks, strict=True))) for name, own in times.items())
        if features.rows and rng.random() < 0.4
    }
    return Device(
        times,
        load_factor=rng.choice((1.0, rng.uniform(0.5, 3))),
        segment_overhead_ms=rng.choice((0.0, rng.uniform(0, 5))),
        memory_bytes=rng.choice((None, rng.randint(100, 2500), rng.randint(100, 1500))) if features.memory else None,
        background_processes=rng.choice((0, 0, 0, 1, 2)),
        first_blocks=rng.choice((None, None, None, None, 0, 1, 2)) if features.memory else None,
        power_idle_w=1.0,
        power_active_w=rng.uniform(1, 10),
        power_tx_w=rng.uniform(0, 2),
        power_rx_w=rng.uniform(0, 2),
        codec_speed=rng.uniform(0.5, 2),
        row_ms=row_ms,
    )
