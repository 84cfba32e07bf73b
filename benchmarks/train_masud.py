"""Trains the learned partitioner on random problems, and writes the weights that the planner starts from."""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.planning import random_problem
from benchmarks.report import console
from services.planner.strategies import masud_learned
from shared.plan.policy import Objective
from shared.plan.problem import Problem

POLICY = Path(masud_learned.__file__).with_name("masud_policy.json")


def problems(count: int, seed: int) -> Iterator[Problem]:
    """Yield random chains of 5 to 20 blocks on 2 to 8 devices, other ones than the benchmarks'."""
    rng = random.Random(seed)
    for number in range(count):
        yield random_problem(1_000_000 + number, rng.randint(5, 20), rng.randint(2, 8), Objective.THROUGHPUT)


def main() -> None:
    """Train, and write the policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started_s = time.perf_counter()
    trained = masud_learned.train_ahead(problems(options.problems, options.seed), options.episodes, options.seed)
    values = {
        "trained_by": "python -m benchmarks.train_masud",
        "problems": options.problems,
        "episodes": options.episodes,
        "seed": options.seed,
        "weights": [round(float(weight), 6) for weight in trained],
    }
    POLICY.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    console().print(f"trained in {time.perf_counter() - started_s:.0f} s: {values['weights']}")


if __name__ == "__main__":
    main()
