"""Training problems, and the network as an ONNX file."""

import random

import numpy as np
import pytest

from benchmarks.masud_training import fresh_network
from benchmarks.train_masud import onnx_bytes, training_loads, training_problem, training_problems
from planning.learned.episode import FEATURES
from shared.model.scoring import load_scorer


def test_training_problems_are_the_same_for_the_same_seed() -> None:
    assert training_problems(5, seed=3) == training_problems(5, seed=3) != training_problems(5, seed=4)


def test_training_problems_are_of_the_sizes_that_are_documented() -> None:
    rng = random.Random(1)
    problems = [training_problem(rng) for _ in range(300)]
    assert {len(problem.devices) for problem in problems} == set(range(2, 7))
    blocks = {len(problem.models["m"].blocks) for problem in problems}
    assert (min(blocks), max(blocks)) == (4, 28)
    assert 10 < sum(problem.streams[0].sink is not None for problem in problems) < 90
    loads = training_loads(problems, seed=2)
    assert 20 < sum(bool(load.computing_ms) for load in loads) < 100


def test_the_onnx_file_scores_as_the_network_does() -> None:
    network = fresh_network(8, np.random.default_rng(5))
    states = np.random.default_rng(6).normal(size=(7, FEATURES)).astype(np.float32)
    assert load_scorer(onnx_bytes(network))(states) == pytest.approx(network.scores(states), rel=1e-4, abs=1e-5)
