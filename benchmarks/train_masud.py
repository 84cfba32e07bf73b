"""Training of the learned partitioner on random problems; writes the network that the planner runs.

    python -m benchmarks.train_masud [--updates N] [--seed N] [--out FILE.onnx]

`python -m benchmarks.masud_gap` measures the result.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.masud_training import Schedule, ScorerNetwork, play, train
from benchmarks.report import console
from planning.learned.arena import Occupancy, stacked
from planning.learned.episode import FEATURES, Views
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.strategies import masud_learned
from shared.policy import Objective, Policy

POLICY = Path(masud_learned.__file__).with_name(masud_learned.POLICY)
HELD_OUT_SEED = 10_000
OPSET, IR_VERSION = 17, 8


def training_problem(rng: random.Random) -> Problem:
    """Return a random chain of 4 to 28 blocks on 2 to 6 devices: mixed ones, equal boards, or boards and fast helpers.

    In one chain of two a third of the blocks takes no time. One device in five has little memory, and one link in
    twenty is missing. One stream in seven has a sink, and one policy in six bounds the number of devices.
    """
    count, names = rng.randint(4, 28), [f"d{index}" for index in range(rng.randint(2, 6))]
    largest_bytes, shrinking = 10 ** rng.uniform(4.5, 6.7), rng.uniform(0, 5)
    blocks = tuple(
        Block(
            f"b{index}",
            int(largest_bytes * rng.random() * 0.5 ** (shrinking * index / count)),
            parameter_bytes=rng.randint(0, 10**7),
        )
        for index in range(count)
    )
    roughness, jitter = rng.uniform(0.2, 1.2), rng.choice([0.0, 0.1, 0.2])
    idle = rng.choice([0.0, 1 / 3])
    work = [0.0 if rng.random() < idle else rng.lognormvariate(0, roughness) for _ in blocks]
    held_bytes = sum(block.parameter_bytes for block in blocks)
    fleet = rng.choices(["mixed", "equal", "helped"], [4, 3, 3])[0]
    devices = {}
    for name in names:
        match fleet:
            case "mixed":
                slowness = rng.uniform(0.3, 20)
            case "equal":
                slowness = rng.uniform(8, 12)
            case _:
                slowness = rng.uniform(0.1, 1) if name != names[0] and rng.random() < 0.5 else rng.uniform(1, 20)
        devices[name] = Device(
            {"m": tuple(slowness * time_ms * rng.uniform(1 - jitter, 1 + jitter) for time_ms in work)},
            load_factor=rng.choice([1.0, rng.uniform(1, 5), 10 ** rng.uniform(0, 1.5)]),
            segment_overhead_ms=rng.choice([0.0, rng.uniform(0, 2)]),
            memory_bytes=int(held_bytes * rng.uniform(0.2, 1.2) + 2 * largest_bytes) if rng.random() < 0.2 else None,
        )
    slowest = rng.uniform(-1.5, 2)
    fastest = rng.uniform(slowest, 3)
    links = tuple(
        Link(name, other, 10 ** rng.uniform(slowest, fastest), rng.choice([0.0, rng.uniform(0.1, 20)]))
        for index, name in enumerate(names)
        for other in names[index + 1 :]
        if rng.random() < 0.95
    )
    stream = Stream("s", "m", names[0], rng.choice(names) if rng.random() < 0.15 else None)
    policy = Policy(objective=Objective.THROUGHPUT, max_devices=rng.choice([2, 3]) if rng.random() < 1 / 6 else None)
    return Problem({"m": Model(602_112, blocks)}, devices, links, (stream,), policy)


def training_problems(count: int, seed: int) -> list[Problem]:
    """Return ``count`` random problems."""
    rng = random.Random(seed)
    return [training_problem(rng) for _ in range(count)]


def training_loads(problems: Sequence[Problem], seed: int) -> list[Occupancy]:
    """Return the occupancy of every problem by other streams: of one problem in five some devices are busy."""
    rng, loads = random.Random(seed), []
    for problem in problems:
        busy = [name for name in problem.devices if rng.random() < 0.5] if rng.random() < 0.2 else []
        times_ms = {name: sum(problem.devices[name].block_ms["m"]) * rng.random() for name in busy}
        held_bytes = {name: rng.random() * (problem.devices[name].memory_bytes or 0.0) for name in busy}
        loads.append(Occupancy(times_ms, {name: rng.random() * times_ms[name] for name in busy}, held_bytes, {}))
    return loads


def onnx_bytes(network: ScorerNetwork) -> bytes:
    """Return the network as an ONNX model: ``state`` [devices, FEATURES] -> ``scores`` [devices]."""
    names = ("w1", "b1", "w2", "b2", "w3", "b3")
    w3, b3 = network.parameters[4][:, 0], network.parameters[5]
    values = dict(zip(names, (*network.parameters[:4], w3, b3), strict=True))
    nodes = [
        helper.make_node("Gemm", ["state", "w1", "b1"], ["z1"]),
        helper.make_node("Tanh", ["z1"], ["h1"]),
        helper.make_node("Gemm", ["h1", "w2", "b2"], ["z2"]),
        helper.make_node("Tanh", ["z2"], ["h2"]),
        helper.make_node("MatMul", ["h2", "w3"], ["z3"]),
        helper.make_node("Add", ["z3", "b3"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "masud_policy",
        [helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, ["devices", FEATURES])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["devices"])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="segue", opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def main() -> None:
    """Train, tell the progress on problems that are not trained on, and write the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=4000)
    parser.add_argument("--updates", type=int, default=Schedule().updates)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=POLICY)
    options = parser.parse_args()
    schedule = Schedule(updates=options.updates)
    problems = training_problems(options.problems, options.seed)
    arena = stacked(problems, training_loads(problems, options.seed))
    held_out = stacked(training_problems(400, HELD_OUT_SEED))
    views, everything = Views(held_out), np.arange(400)
    started_s = time.perf_counter()

    def progress(update: int, network: ScorerNetwork) -> None:
        if update % max(1, options.updates // 20) == 0 or update == options.updates - 1:
            greedy = play(network, held_out, views, everything, None).cost
            ended = np.isfinite(greedy)
            console().print(
                f"{time.perf_counter() - started_s:5.0f} s, {(update + 1) * schedule.instances * schedule.episodes} "
                f"episodes: held out, geometric mean {np.exp(np.log(greedy[ended]).mean()):.3f} x an ideal share, "
                f"{np.count_nonzero(~ended)} of {len(greedy)} without end"
            )

    network = train(arena, schedule, options.seed, progress)
    options.out.write_bytes(onnx_bytes(network))
    console().print(
        f"trained in {time.perf_counter() - started_s:.0f} s, {options.out}: {options.out.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()
